//! Sequences of unequal length in one batch, without padding.

use std::ops::Range;

use crate::error::Result;
use crate::gpu::{Buffer, Device};

/// Several sequences laid end to end: row `i` of every activation belongs to one token of one sequence.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The sequences, in the order of their rows.
    pub sequences: Vec<Sequence>,
    /// The position of every row within its sequence, for rotary embeddings.
    pub positions: Vec<u32>,
    /// The batch on the GPU that the model is on.
    pub device: Option<DeviceBatch>,
}

/// A batch in the memory of a GPU, as kernels read it.
///
/// Where every sequence has one row, this is a step of decoding: then kernels read nothing but what is here, and it can be
/// changed in place between replays of a captured step.
#[derive(Clone, Debug)]
pub struct DeviceBatch {
    /// The GPU.
    pub device: Device,
    /// Rows.
    pub rows: usize,
    /// Whether every sequence has exactly one row.
    pub one_row_each: bool,
    /// Rows of the longest sequence.
    pub most_rows: usize,
    /// Sequences.
    pub count: usize,
    /// The token of every row: `u32 (rows)`. Not set where a model is given embeddings.
    pub tokens: Buffer,
    /// Earlier tokens of the sequence of every row: `u32 (rows)`.
    pub positions: Buffer,
    /// The positions for rotary embeddings where they are others: `u32 (rows)`.
    pub rotary_positions: Option<Buffer>,
    /// The place of every row's sequence in the key-value cache: `u32 (rows)`.
    pub slots: Buffer,
    /// First row, rows, slot and tokens so far of every sequence: `u32 (sequences, 4)`.
    pub sequences: Buffer,
    /// Which tokens may be attended to, `u8 (slots, stride)`, and the stride.
    pub key_mask: Option<(Buffer, usize)>,
}

/// The rows of one sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Its rows in this batch.
    pub rows: Range<usize>,
    /// Its tokens before them.
    pub first: usize,
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
        let row = self.positions.len();
        self.positions.extend((start..start + tokens).map(|position| position as u32));
        let length = start + tokens;
        self.sequences.push(Sequence { rows: row..row + tokens, first: start, slot, key_mask: None, length });
    }

    /// Copies the batch to a GPU, with the tokens of its rows.
    ///
    /// # Errors
    /// There is too little memory.
    pub fn to_device(&mut self, device: &Device, tokens: &[u32]) -> Result<&DeviceBatch> {
        let (mut positions, mut slots, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in &self.sequences {
            let first = sequence.first;
            positions.extend((first..first + sequence.rows.len()).map(|position| position as u32));
            slots.extend(std::iter::repeat_n(sequence.slot as u32, sequence.rows.len()));
            let length = first + sequence.rows.len();
            let facts = [sequence.rows.start, sequence.rows.len(), sequence.slot, length];
            sequences.extend(facts.map(|fact| fact as u32));
        }
        let most_rows = self.sequences.iter().map(|sequence| sequence.rows.len()).max().unwrap_or(0);
        let on_device = DeviceBatch {
            device: device.clone(),
            rows: self.rows(),
            one_row_each: most_rows == 1,
            most_rows,
            count: self.sequences.len(),
            tokens: device.upload(tokens)?,
            rotary_positions: match positions == self.positions {
                true => None,
                false => Some(device.upload(&self.positions)?),
            },
            positions: device.upload(&positions)?,
            slots: device.upload(&slots)?,
            sequences: device.upload(&sequences)?,
            key_mask: self.device_key_mask(device)?,
        };
        Ok(self.device.insert(on_device))
    }

    fn device_key_mask(&self, device: &Device) -> Result<Option<(Buffer, usize)>> {
        if self.sequences.iter().all(|sequence| sequence.key_mask.is_none()) {
            return Ok(None);
        }
        let lengths = self.sequences.iter().map(|sequence| sequence.first + sequence.rows.len());
        let stride = lengths.max().unwrap_or(0);
        let slots = self.sequences.iter().map(|sequence| sequence.slot + 1).max().unwrap_or(0);
        let mut seen = vec![1u8; slots * stride];
        for sequence in &self.sequences {
            let mask = sequence.key_mask.iter().flatten();
            for (seen, &key) in seen[sequence.slot * stride..].iter_mut().zip(mask) {
                *seen = u8::from(key);
            }
        }
        Ok(Some((device.upload(&seen)?, stride)))
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Whether every row is the last known token of its sequence, as in a step of decoding.
    pub fn is_of_last_tokens(&self) -> bool {
        self.sequences.iter().all(|sequence| {
            sequence.rows.len() == 1 && self.positions[sequence.rows.start] as usize + 1 == sequence.length
        })
    }

    /// The last row of every sequence.
    pub fn last_rows(&self) -> Vec<usize> {
        self.sequences.iter().map(|sequence| sequence.rows.end - 1).collect()
    }
}
