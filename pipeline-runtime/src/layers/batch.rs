//! Sequences of unequal length in one batch, without padding.

use std::ops::Range;

/// Several sequences laid end to end: row `i` of every activation belongs to one token of one sequence.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The sequences, in the order of their rows.
    pub sequences: Vec<Sequence>,
    /// The position of every row within its sequence, for rotary embeddings.
    pub positions: Vec<u32>,
}

/// The rows of one sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Its rows in this batch.
    pub rows: Range<usize>,
    /// Its place in the key-value cache.
    pub slot: usize,
    /// Which tokens may be attended to, over all tokens of the sequence so far; `None` is all.
    pub key_mask: Option<Vec<bool>>,
    /// Tokens of the sequence that are known by now, with those that later batches read: rotary embeddings may depend
    /// on it.
    pub length: usize,
}

impl Batch {
    /// Adds `tokens` rows of the sequence at `slot`, the first at position `start`, the last its last.
    pub fn push(&mut self, slot: usize, start: usize, tokens: usize) {
        let first = self.positions.len();
        self.positions.extend((start..start + tokens).map(|position| position as u32));
        let length = start + tokens;
        self.sequences.push(Sequence { rows: first..first + tokens, slot, key_mask: None, length });
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// The last row of every sequence.
    pub fn last_rows(&self) -> Vec<usize> {
        self.sequences.iter().map(|sequence| sequence.rows.end - 1).collect()
    }
}
