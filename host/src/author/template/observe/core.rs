//! Which request is slow. Pure.

use serde::Deserialize;

/// What an operator configures; its schema is in manifest.json.
#[derive(Debug, Deserialize)]
pub struct Watch {
    /// Milliseconds from which on a request is slow.
    #[serde(default = "slow_ms")]
    pub slow_ms: u64,
}

fn slow_ms() -> u64 {
    1000
}

impl Watch {
    /// Whether stages that took so many microseconds each make a slow request.
    #[must_use]
    pub fn is_slow(&self, stages: &[u64]) -> bool {
        stages.iter().sum::<u64>() >= self.slow_ms * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::Watch;

    #[test]
    fn adds_the_stages_up() {
        let watch = Watch { slow_ms: 2 };
        assert!(watch.is_slow(&[1500, 500]));
        assert!(!watch.is_slow(&[1999]));
    }
}
