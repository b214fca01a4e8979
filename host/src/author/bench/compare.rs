//! A measurement beside an earlier one, and what of it is slower or larger.

use super::{Measurement, StageTimes, Times};

/// One number of a measurement, beside the earlier one.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What it is of, such as `start` or `validate call`.
    pub name: String,
    /// What it is: what is told, and whether more is worse.
    pub kind: Kind,
    /// The number.
    pub value: f64,
    /// In its hundredth worst case, for times.
    pub p99: Option<f64>,
    /// The number in the baseline, where it has one.
    pub before: Option<f64>,
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Microseconds.
    Time,
    /// Instances a second.
    Rate,
    /// Bytes.
    Bytes,
}

impl Row {
    /// How much worse it is than before: 1 is the same, 2 twice as long, as large, or half as many.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let before = self.before.filter(|before| *before > 0.0)?;
        match self.kind {
            Kind::Time | Kind::Bytes => Some(self.value / before),
            Kind::Rate => Some(before / self.value.max(f64::MIN_POSITIVE)),
        }
    }
}

/// All numbers of a measurement, beside those of an earlier one where there is one.
#[must_use]
pub fn rows(now: &Measurement, before: Option<&Measurement>) -> Vec<Row> {
    let mut rows = numbers(now);
    let before = before.map(numbers).unwrap_or_default();
    for row in &mut rows {
        let known = before.iter().find(|known| known.name == row.name);
        row.before = known.map(|known| known.value);
    }
    rows
}

/// Those that are worse than so many times the earlier ones. Of times the medians count.
#[must_use]
pub fn worse(rows: &[Row], ratio_max: f64) -> Vec<&Row> {
    let is_worse = |row: &&Row| row.ratio().is_some_and(|ratio| ratio > ratio_max);
    rows.iter().filter(is_worse).collect()
}

fn numbers(measurement: &Measurement) -> Vec<Row> {
    let mut rows = vec![
        time("compile, nothing kept", &measurement.cold),
        time("compiled before", &measurement.cached),
        time(&format!("start ({})", measurement.startup), &measurement.start),
    ];
    if let Some(configured) = &measurement.configured {
        rows.insert(2, time("one more configuration", configured));
    }
    if let Some(bytes) = measurement.resident_bytes {
        rows.push(row("memory of its own, started", Kind::Bytes, bytes as f64));
    }
    for (stage, times) in &measurement.stages {
        rows.extend(stage_numbers(stage, times));
    }
    rows
}

fn stage_numbers(stage: &str, times: &StageTimes) -> Vec<Row> {
    let mut rows = vec![time(&format!("{stage}: a call"), &times.call)];
    if let Some(push) = &times.push {
        rows.push(time(&format!("{stage}: a push"), push));
    }
    rows.push(row(
        &format!("{stage}: a second, one thread"),
        Kind::Rate,
        times.per_second,
    ));
    rows.push(row(
        &format!("{stage}: a second, all threads"),
        Kind::Rate,
        times.per_second_all,
    ));
    rows.push(row(
        &format!("{stage}: memory"),
        Kind::Bytes,
        times.memory_bytes as f64,
    ));
    rows
}

fn time(name: &str, times: &Times) -> Row {
    Row {
        p99: Some(times.p99_us),
        ..row(name, Kind::Time, times.median_us)
    }
}

fn row(name: &str, kind: Kind, value: f64) -> Row {
    Row {
        name: name.to_owned(),
        kind,
        value,
        p99: None,
        before: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, row, worse};

    #[test]
    fn less_a_second_is_as_bad_as_more_time() {
        let rows = |time: f64, rate: f64| {
            let mut rows = vec![
                row("t", Kind::Time, time),
                row("r", Kind::Rate, rate),
                row("b", Kind::Bytes, 1.0),
            ];
            rows[0].before = Some(10.0);
            rows[1].before = Some(100.0);
            rows
        };
        let names = |rows: &[super::Row]| {
            let worse = worse(rows, 1.5);
            worse.iter().map(|row| row.name.clone()).collect::<Vec<_>>()
        };
        assert!(names(&rows(14.0, 70.0)).is_empty());
        assert_eq!(names(&rows(16.0, 70.0)), ["t"]);
        assert_eq!(names(&rows(1.0, 50.0)), ["r"]);
        assert_eq!(rows(20.0, 50.0)[1].ratio(), Some(2.0));
        // What is new is worse than nothing.
        assert_eq!(rows(20.0, 50.0)[2].ratio(), None);
    }
}
