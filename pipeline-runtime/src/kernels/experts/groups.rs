//! Tokens grouped by the expert they visit.

use super::{DROPPED, ExpertRouting};

/// What one expert has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The expert.
    pub(super) expert: usize,
    /// Its first row in [`Groups::rows`].
    pub(super) first: usize,
    /// How many rows it has, at least one.
    pub(super) count: usize,
}

/// A visit of a token to an expert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) token: u32,
    /// How much the result counts.
    pub(super) weight: f32,
}

/// All visits, those of one expert side by side.
pub(super) struct Groups {
    /// Experts that are visited, in their order.
    pub(super) groups: Vec<Group>,
    /// The visits, in the order of experts, then tokens.
    pub(super) rows: Vec<Row>,
}

impl Groups {
    /// Counting sort of the slots that are not dropped.
    pub(super) fn new(routing: ExpertRouting<'_>, experts: usize, experts_per_token: usize) -> Groups {
        let mut starts = vec![0usize; experts + 1];
        for &expert in routing.experts.iter().filter(|expert| **expert != DROPPED) {
            starts[expert as usize + 1] += 1;
        }
        for expert in 0..experts {
            starts[expert + 1] += starts[expert];
        }
        let groups = (0..experts)
            .map(|expert| Group { expert, first: starts[expert], count: starts[expert + 1] - starts[expert] })
            .filter(|group| group.count > 0)
            .collect();
        let mut rows = vec![Row { token: 0, weight: 0.0 }; starts[experts]];
        for (slot, (&expert, &weight)) in routing.experts.iter().zip(routing.weights).enumerate() {
            if expert != DROPPED {
                let next = &mut starts[expert as usize];
                rows[*next] = Row { token: (slot / experts_per_token) as u32, weight };
                *next += 1;
            }
        }
        Groups { groups, rows }
    }

    /// The visits to an expert.
    pub(super) fn rows_of(&self, group: Group) -> &[Row] {
        &self.rows[group.first..group.first + group.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_sorted_by_expert_then_token() {
        let experts = [3, 1, DROPPED, 3, 1, 3];
        let weights = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
        let groups = Groups::new(ExpertRouting { experts: &experts, weights: &weights }, 5, 2);
        let expected = [Group { expert: 1, first: 0, count: 2 }, Group { expert: 3, first: 2, count: 3 }];
        assert_eq!(groups.groups, expected);
        let row = |token, weight| Row { token, weight };
        assert_eq!(groups.rows_of(groups.groups[0]), [row(0, 0.2), row(2, 0.5)]);
        assert_eq!(groups.rows_of(groups.groups[1]), [row(0, 0.1), row(1, 0.4), row(2, 0.6)]);
    }
}
