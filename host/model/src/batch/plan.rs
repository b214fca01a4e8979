//! Which of the waiting inputs make the next batch. Pure: lengths in, indices out.
//!
//! All inputs of a batch are padded to its longest, so a batch costs its count times its longest length. The one that has
//! waited longest is always taken; then those whose lengths are nearest to it, so long as that cost stays in bounds.

/// What bounds a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Inputs at most.
    pub items_max: usize,
    /// Count times longest length, at most.
    pub tokens_max: usize,
    /// Padding in a batch, at most, in percent of its real tokens: on a CPU, which is busy with a few texts already, padding
    /// is work lost, and an input that would bring more waits for company of its own length.
    pub padding_percent_max: usize,
}

/// Padding in tokens that a batch may have in any case: about what starting one more run costs.
const PADDING_FREE: usize = 32;

/// The indices of the next batch, given the lengths of what waits, longest waiting first.
///
/// The first is always among them; there is at least one and at most `items_max`; unless it is alone, the batch costs at
/// most `tokens_max`. Nothing waits: nothing is planned.
#[must_use]
pub fn plan(lengths: &[usize], bounds: Bounds) -> Vec<usize> {
    if lengths.is_empty() {
        return Vec::new();
    }
    let mut by_length: Vec<usize> = (0..lengths.len()).collect();
    by_length.sort_by_key(|index| lengths[*index]);
    let anchor = by_length.iter().position(|index| *index == 0).unwrap_or_default();
    let mut batch = Window {
        lengths,
        by_length: &by_length,
        start: anchor,
        end: anchor + 1,
        real: lengths[0],
    };
    while batch.grow(bounds) {}
    by_length[batch.start..batch.end].to_vec()
}

/// A run of inputs in order of length, round the one that has waited longest.
struct Window<'a> {
    lengths: &'a [usize],
    by_length: &'a [usize],
    start: usize,
    end: usize,
    real: usize,
}

impl Window<'_> {
    fn length_at(&self, place: usize) -> usize {
        self.lengths[self.by_length[place]]
    }

    /// Takes in the neighbour that wastes less; false where neither fits.
    fn grow(&mut self, bounds: Bounds) -> bool {
        if self.end - self.start >= bounds.items_max {
            return false;
        }
        let shorter = (self.start > 0).then(|| self.start - 1);
        let longer = (self.end < self.by_length.len()).then_some(self.end);
        let waste_of = |place: usize| {
            let length = self.length_at(place);
            let cost = (self.end - self.start + 1) * length.max(self.length_at(self.end - 1));
            (cost, cost - (self.real + length))
        };
        let mut neighbours: Vec<(usize, usize, usize)> = [shorter, longer]
            .into_iter()
            .flatten()
            .map(|place| (waste_of(place).1, waste_of(place).0, place))
            .collect();
        neighbours.sort_unstable();
        for (waste, cost, place) in neighbours {
            let real = cost - waste;
            let lean = waste <= PADDING_FREE || waste * 100 <= real * bounds.padding_percent_max;
            if cost <= bounds.tokens_max && lean {
                self.real = real;
                self.start = self.start.min(place);
                self.end = self.end.max(place + 1);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, plan};
    use proptest::prelude::{any, prop, prop_assert, proptest};

    const BOUNDS: Bounds = Bounds {
        items_max: 4,
        tokens_max: 1000,
        padding_percent_max: 8,
    };

    fn planned(lengths: &[usize], bounds: Bounds) -> Vec<usize> {
        let mut batch = plan(lengths, bounds);
        batch.sort_unstable();
        batch
    }

    #[test]
    fn takes_all_that_fits() {
        assert_eq!(planned(&[10, 12, 11], BOUNDS), vec![0, 1, 2]);
    }

    #[test]
    fn plans_nothing_where_nothing_waits() {
        assert_eq!(plan(&[], BOUNDS), Vec::<usize>::new());
    }

    #[test]
    fn prefers_neighbours_in_length() {
        let lengths = [200, 5, 210, 6, 190, 205];
        assert_eq!(planned(&lengths, BOUNDS), vec![0, 2, 4, 5]);
    }

    #[test]
    fn always_takes_the_one_that_has_waited_longest() {
        let lengths = [500, 1, 1, 1, 1, 1];
        assert_eq!(planned(&lengths, BOUNDS), vec![0]);
    }

    #[test]
    fn takes_unlike_lengths_where_padding_costs_little() {
        let lengths = [10, 80, 85, 90];
        assert_eq!(planned(&lengths, BOUNDS), vec![0]);
        let little = Bounds {
            padding_percent_max: 100,
            ..BOUNDS
        };
        assert_eq!(planned(&lengths, little), vec![0, 1, 2, 3]);
    }

    #[test]
    fn runs_one_that_is_over_the_bound_alone() {
        assert_eq!(planned(&[5000, 5000], BOUNDS), vec![0]);
    }

    proptest! {
        #[test]
        fn keeps_its_bounds(
            lengths in prop::collection::vec(1_usize..600, 1..80),
            items_max in 1_usize..40,
            tokens_max in 1_usize..20_000,
            padding_percent_max in 0_usize..200,
            _seed in any::<u8>(),
        ) {
            let batch = planned(&lengths, Bounds { items_max, tokens_max, padding_percent_max });
            let longest = batch.iter().map(|index| lengths[*index]).max().unwrap_or_default();
            prop_assert!(batch.first() == Some(&0));
            prop_assert!(batch.len() <= items_max);
            prop_assert!(batch.len() == 1 || batch.len() * longest <= tokens_max);
            prop_assert!(batch.windows(2).all(|pair| pair[0] < pair[1]), "an index is there twice");
        }
    }
}
