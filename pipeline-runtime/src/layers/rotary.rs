//! Rotary position embeddings (<https://arxiv.org/abs/2104.09864>) and their scalings for long sequences.
//!
//! Reference: `modeling_rope_utils.py` of transformers; frequencies are computed in `f32` and in its order.

use std::borrow::Cow;
use std::f64::consts::TAU;

use pipeline_schema::models::{RopeParameters, RopeScaling};

use std::sync::{Arc, Mutex};

use crate::error::Result;
use crate::gpu::{Buffer, Device};
use crate::kernels::rotary::RotaryTables;
use crate::layers::Batch;
use crate::layers::batch::DeviceBatch;

/// Rotates pairs of features by angles that grow with the position.
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    /// Radians a position, for each pair of features: `(head_dim / 2)`.
    frequencies: Vec<f32>,
    /// The factor of cosines and sines.
    attention_factor: f32,
    /// What holds instead for long sequences.
    long: Option<LongSequences>,
    /// Tables [`by_position`](RotaryEmbedding::by_position) on a device, each longer than the one before. All are kept:
    /// recorded steps refer to them.
    tables: Arc<Mutex<Vec<DeviceTables>>>,
}

/// Cosines and sines `(positions, head_dim / 2)` in `f32` in the memory of a GPU.
#[derive(Clone, Debug)]
pub struct DeviceTables {
    /// Cosines of the angles.
    pub cos: Buffer,
    /// Sines of the angles.
    pub sin: Buffer,
    /// Rows of both.
    pub positions: usize,
}

/// The rotations of a batch, where the batch is.
#[derive(Clone, Debug)]
pub enum BatchRotation {
    /// On the processor.
    Host(Rotation),
    /// On a GPU.
    Device(DeviceRotation),
}

/// The rotations of a batch on a GPU.
#[derive(Clone, Debug)]
pub struct DeviceRotation {
    /// The tables.
    pub tables: DeviceTables,
    /// The row in the tables of every row of the batch: `u32 (rows)`.
    pub rows: Buffer,
}

/// Frequencies of sequences of more than `above` tokens.
#[derive(Clone, Debug)]
struct LongSequences {
    above: usize,
    frequencies: LongFrequencies,
}

#[derive(Clone, Debug)]
enum LongFrequencies {
    Fixed(Vec<f32>),
    /// Those of a base that grows with the length.
    Dynamic {
        head_dim: usize,
        theta: f64,
        factor: f64,
    },
}

/// The rotations of a batch: cosines and sines `(tokens, head_dim / 2)`, shared by all layers.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Cosines of the angles.
    pub cos: Vec<f32>,
    /// Sines of the angles.
    pub sin: Vec<f32>,
    /// The row of each token in both: they are laid out in the order of the tokens.
    pub rows: Vec<usize>,
}

impl Rotation {
    /// Both tables as the kernel takes them.
    pub fn tables(&self) -> RotaryTables<'_> {
        RotaryTables { cos: &self.cos, sin: &self.sin }
    }
}

impl RotaryEmbedding {
    /// The embedding of heads of `head_dim` numbers, an even count.
    pub fn new(head_dim: usize, rope: &RopeParameters) -> RotaryEmbedding {
        let wavelengths = wavelengths(head_dim, rope.theta);
        let default: Vec<f32> = wavelengths.iter().map(|wavelength| 1.0 / wavelength).collect();
        let divided = |divisors: &[f64]| -> Vec<f32> {
            let pairs = wavelengths.iter().zip(divisors);
            pairs.map(|(wavelength, &divisor)| 1.0 / (divisor as f32 * wavelength)).collect()
        };
        let fixed = |frequencies| RotaryEmbedding {
            frequencies,
            attention_factor: 1.0,
            long: None,
            tables: Arc::default(),
        };
        match rope.scaling {
            RopeScaling::Unscaled => fixed(default),
            RopeScaling::Linear { factor } => {
                fixed(default.iter().map(|frequency| frequency / factor as f32).collect())
            }
            RopeScaling::Dynamic { factor, original_max_position_embeddings: above } => {
                let frequencies = LongFrequencies::Dynamic { head_dim, theta: rope.theta, factor };
                RotaryEmbedding { long: Some(LongSequences { above, frequencies }), ..fixed(default) }
            }
            RopeScaling::Yarn { attention_factor, .. } => RotaryEmbedding {
                attention_factor: attention_factor as f32,
                ..fixed(yarn(&wavelengths, head_dim, rope))
            },
            RopeScaling::LongRope {
                ref short_factor,
                ref long_factor,
                original_max_position_embeddings: above,
                attention_factor,
            } => {
                let frequencies = LongFrequencies::Fixed(divided(long_factor));
                RotaryEmbedding {
                    frequencies: divided(short_factor),
                    attention_factor: attention_factor as f32,
                    long: Some(LongSequences { above, frequencies }),
                    tables: Arc::default(),
                }
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let length = original_max_position_embeddings as f64;
                let scaled = |frequency: f32| {
                    // Turns over the length of the training.
                    let turns = length * f64::from(frequency) / TAU;
                    let kept =
                        ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    ((1.0 - kept) * f64::from(frequency) / factor + kept * f64::from(frequency)) as f32
                };
                fixed(default.into_iter().map(scaled).collect())
            }
        }
    }

    /// The rotations of the tokens of a batch. Where they depend on the length of a sequence, each goes by its own.
    pub fn at(&self, batch: &Batch) -> Rotation {
        let mut angles = Vec::with_capacity(batch.rows() * self.frequencies.len());
        for sequence in &batch.sequences {
            let frequencies = self.frequencies(sequence.length);
            for &position in &batch.positions[sequence.rows.clone()] {
                angles.extend(frequencies.iter().map(|frequency| position as f32 * frequency));
            }
        }
        let factor = self.attention_factor;
        Rotation {
            cos: angles.iter().map(|angle| angle.cos() * factor).collect(),
            sin: angles.iter().map(|angle| angle.sin() * factor).collect(),
            rows: (0..batch.rows()).collect(),
        }
    }

    /// The rotations of positions from 0 to below `positions`, each as the last of its sequence: so a step of decoding
    /// meets them, whose tokens all end their sequences. Where no length changes the frequencies, these are the rotations
    /// of all tokens.
    fn by_position(&self, positions: usize) -> Rotation {
        let mut lasts = Batch::default();
        (0..positions).for_each(|position| lasts.push(position, position, 1));
        self.at(&lasts)
    }

    /// The rotations of a batch, where the batch is. `positions` bounds those of a batch that is on a GPU and whose
    /// positions change there.
    ///
    /// # Errors
    /// There is too little memory.
    pub fn of(&self, batch: &Batch, positions: usize) -> Result<BatchRotation> {
        match &batch.device {
            None => Ok(BatchRotation::Host(self.at(batch))),
            Some(device) => Ok(BatchRotation::Device(self.on_device(batch, device, positions)?)),
        }
    }

    /// The rotations of a batch that is on a GPU and whose positions are below `positions`. Those of a step of decoding
    /// are found by the positions on the device, so that a recorded step finds them anew in each replay.
    ///
    /// # Errors
    /// There is too little memory.
    fn on_device(&self, batch: &Batch, on_device: &DeviceBatch, positions: usize) -> Result<DeviceRotation> {
        let device = &on_device.device;
        if self.long.is_some() && !batch.is_of_last_tokens() {
            // For the steps that follow: made by the first of them, they would be in the memory of its graph.
            self.tables_of(device, positions)?;
            let Rotation { cos, sin, rows } = self.at(batch);
            let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
            let tables =
                DeviceTables { cos: device.upload(&cos)?, sin: device.upload(&sin)?, positions: rows.len() };
            return Ok(DeviceRotation { tables, rows: device.upload(&rows)? });
        }
        let highest = batch.positions.iter().max().map_or(0, |&position| position as usize + 1);
        let tables = self.tables_of(device, positions.max(highest))?;
        let rows = on_device.rotary_positions.as_ref().unwrap_or(&on_device.positions).clone();
        Ok(DeviceRotation { tables, rows })
    }

    /// The tables of at least so many positions. They grow by doubling, so that all together are not twice the longest.
    fn tables_of(&self, device: &Device, positions: usize) -> Result<DeviceTables> {
        let mut kept = self.tables.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match kept.last() {
            Some(tables) if tables.positions >= positions => Ok(tables.clone()),
            _ => {
                let positions = positions.next_power_of_two().max(1024);
                let Rotation { cos, sin, .. } = self.by_position(positions);
                let tables = DeviceTables { cos: device.upload(&cos)?, sin: device.upload(&sin)?, positions };
                kept.push(tables.clone());
                Ok(tables)
            }
        }
    }

    /// The frequencies of a sequence of so many tokens.
    fn frequencies(&self, length: usize) -> Cow<'_, [f32]> {
        match &self.long {
            Some(LongSequences { above, frequencies }) if length > *above => match frequencies {
                LongFrequencies::Fixed(frequencies) => Cow::Borrowed(frequencies),
                &LongFrequencies::Dynamic { head_dim, theta, factor } => {
                    let stretch = factor * length as f64 / *above as f64 - (factor - 1.0);
                    let theta = theta * stretch.powf(head_dim as f64 / (head_dim as f64 - 2.0));
                    Cow::Owned(
                        wavelengths(head_dim, theta).iter().map(|wavelength| 1.0 / wavelength).collect(),
                    )
                }
            },
            _ => Cow::Borrowed(&self.frequencies),
        }
    }
}

/// Positions a radian, `theta^(2i / head_dim)`: `(head_dim / 2)`.
fn wavelengths(head_dim: usize, theta: f64) -> Vec<f32> {
    (0..head_dim / 2).map(|pair| (theta as f32).powf((2 * pair) as f32 / head_dim as f32)).collect()
}

/// Section 3.2 of the paper: a ramp over the pairs, between those that turn `beta_fast` times over the length of the
/// training and those that turn `beta_slow` times.
fn yarn(wavelengths: &[f32], head_dim: usize, rope: &RopeParameters) -> Vec<f32> {
    let RopeScaling::Yarn {
        factor, original_max_position_embeddings, beta_fast, beta_slow, truncate, ..
    } = rope.scaling
    else {
        unreachable!("the scaling is yarn's");
    };
    let length = original_max_position_embeddings as f64;
    let pair_of_turns =
        |turns: f64| head_dim as f64 * (length / (turns * TAU)).ln() / (2.0 * rope.theta.ln());
    let (low, high) = (pair_of_turns(beta_fast), pair_of_turns(beta_slow));
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    // The reference bounds the pairs by `head_dim`, although there are half as many.
    let (low, mut high) = (low.max(0.0) as f32, high.min(head_dim as f64 - 1.0) as f32);
    if low == high {
        high += 0.001;
    }
    let scaled = |(pair, &wavelength): (usize, &f32)| {
        let kept = 1.0 - ((pair as f32 - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 - kept) / (factor as f32 * wavelength) + kept / wavelength
    };
    wavelengths.iter().enumerate().map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::faults::StandIn;

    /// Frequencies of heads of 16 numbers in sequences of `length` tokens, against those that
    /// `ROPE_INIT_FUNCTIONS` of transformers 5.17 gives.
    #[track_caller]
    fn agrees(theta: f64, scaling: RopeScaling, length: usize, recorded: [f64; 8]) {
        let rotary = RotaryEmbedding::new(16, &RopeParameters { theta, scaling });
        let found = rotary.frequencies(length);
        assert_eq!(found.len(), recorded.len());
        for (pair, (found, recorded)) in found.iter().zip(recorded).enumerate() {
            let error = (f64::from(*found) / recorded - 1.0).abs();
            assert!(error < 2e-6, "pair {pair}: {found}, recorded {recorded}");
        }
    }

    #[test]
    fn linear() {
        let recorded = [
            0.3333333,
            0.1054093,
            0.03333334,
            0.01054093,
            0.003333333,
            0.001054093,
            0.0003333334,
            0.0001054093,
        ];
        agrees(1e4, RopeScaling::Linear { factor: 3.0 }, 100, recorded);
    }

    #[test]
    fn dynamic_grows_with_the_sequence_beyond_the_training() {
        let dynamic = || RopeScaling::Dynamic { factor: 2.5, original_max_position_embeddings: 64 };
        let short = [1.0, 0.3162278, 0.1, 0.03162278, 0.01, 0.003162278, 0.001, 0.0003162278];
        agrees(1e4, dynamic(), 40, short);
        agrees(1e4, dynamic(), 64, short);
        let long =
            [1.0, 0.2789477, 0.07781181, 0.02170542, 0.006054677, 0.001688938, 0.0004711254, 0.0001314193];
        agrees(1e4, dynamic(), 100, long);
    }

    #[test]
    fn yarn_with_a_ramp_of_whole_pairs_and_of_parts() {
        let yarn = |beta_fast, beta_slow, truncate| RopeScaling::Yarn {
            factor: 4.0,
            original_max_position_embeddings: 512,
            attention_factor: 1.0,
            beta_fast,
            beta_slow,
            truncate,
        };
        let whole = [1.0, 0.2569351, 0.0625, 0.01383497, 0.0025, 0.0007905695, 0.00025, 7.905695e-05];
        agrees(1e4, yarn(32.0, 1.0, true), 100, whole);
        let parts = [1.0, 0.3162278, 0.07075451, 0.010516, 0.0025, 0.0007905695, 0.00025, 7.905695e-05];
        agrees(1e4, yarn(20.0, 2.0, false), 100, parts);
    }

    #[test]
    fn longrope_has_divisors_for_short_and_for_long_sequences() {
        let longrope = || RopeScaling::LongRope {
            short_factor: vec![1.0, 1.1, 1.2, 1.3, 1.5, 1.7, 2.0, 2.5],
            long_factor: vec![1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 20.0],
            original_max_position_embeddings: 32,
            attention_factor: 1.0,
        };
        let short = [1.0, 0.2874798, 0.08333334, 0.02432521, 0.006666667, 0.001860163, 0.0005, 0.0001264911];
        agrees(1e4, longrope(), 32, short);
        let long = [
            0.6666667,
            0.1581139,
            0.03333334,
            0.007905695,
            0.001666667,
            0.0003513642,
            7.142857e-05,
            1.581139e-05,
        ];
        agrees(1e4, longrope(), 33, long);
    }

    #[test]
    fn llama3_keeps_stretches_and_blends() {
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 512,
        };
        let recorded =
            [1.0, 0.1939228, 0.02734413, 0.0009115831, 0.0001767767, 3.428102e-05, 6.64787e-06, 1.289173e-06];
        agrees(5e5, llama3, 100, recorded);
    }

    #[test]
    fn each_sequence_of_a_batch_goes_by_its_own_length() {
        let scaling = RopeScaling::Dynamic { factor: 2.5, original_max_position_embeddings: 8 };
        let rotary = RotaryEmbedding::new(16, &RopeParameters { theta: 1e4, scaling });
        let alone = |start, tokens, length| {
            let mut batch = Batch::default();
            batch.push(0, start, tokens);
            batch.sequences[0].length = length;
            rotary.at(&batch).cos
        };
        let mut both = Batch::default();
        both.push(0, 3, 2);
        both.push(1, 0, 20);
        assert_eq!(rotary.at(&both).cos, [alone(3, 2, 5), alone(0, 20, 20)].concat());
        assert_ne!(alone(3, 2, 5), alone(3, 2, 20));
    }

    fn scaled(scaling: RopeScaling) -> RotaryEmbedding {
        RotaryEmbedding::new(16, &RopeParameters { theta: 1e4, scaling })
    }

    /// Scalings whose frequencies change with the length: beyond 8 tokens.
    fn with_length() -> [RotaryEmbedding; 2] {
        let longrope = RopeScaling::LongRope {
            short_factor: vec![1.0, 1.1, 1.2, 1.3, 1.5, 1.7, 2.0, 2.5],
            long_factor: vec![1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 20.0],
            original_max_position_embeddings: 8,
            attention_factor: 1.2,
        };
        let dynamic = RopeScaling::Dynamic { factor: 2.5, original_max_position_embeddings: 8 };
        [scaled(dynamic), scaled(longrope)]
    }

    /// One token of each of several sequences, at these positions.
    fn step(positions: &[usize]) -> Batch {
        let mut batch = Batch::default();
        for (slot, &position) in positions.iter().enumerate() {
            batch.push(slot, position, 1);
        }
        batch
    }

    /// The cosines and sines of a batch on a GPU, found as a kernel finds them.
    fn found(rotation: &DeviceRotation, device: &Device, rows: usize) -> [Vec<f32>; 2] {
        let rows: Vec<u32> = device.read(&rotation.rows, 0, rows).unwrap();
        [&rotation.tables.cos, &rotation.tables.sin].map(|table| {
            rows.iter().flat_map(|&row| device.read::<f32>(table, row as usize * 8 * 4, 8).unwrap()).collect()
        })
    }

    #[test]
    fn a_step_that_is_replayed_on_a_device_follows_the_lengths_there() {
        let (device, _) = StandIn::open(1 << 20);
        for rotary in with_length() {
            // Sequences below the length of the training, at it, and beyond.
            let positions = [2, 6, 30];
            let mut batch = step(&positions);
            batch.to_device(&device, &[0; 3]).unwrap();
            let BatchRotation::Device(rotation) = rotary.of(&batch, 64).unwrap() else {
                panic!("on a device")
            };
            let there = &batch.device.as_ref().unwrap().positions;
            assert_eq!(rotation.rows.address(), there.address());
            for launched in 0..10 {
                let now = positions.map(|position| position + launched);
                device.write(there, 0, &now.map(|position| position as u32)).unwrap();
                let Rotation { cos, sin, .. } = rotary.at(&step(&now));
                assert_eq!(found(&rotation, &device, 3), [cos, sin]);
            }
            let [short, long] = [8, 9].map(|length| rotary.frequencies(length).into_owned());
            assert_ne!(short, long);
        }
    }

    #[test]
    fn a_prompt_on_a_device_goes_by_its_own_length() {
        let (device, _) = StandIn::open(1 << 20);
        for rotary in with_length() {
            let mut batch = Batch::default();
            batch.push(0, 0, 5);
            batch.push(1, 0, 12);
            // One token of a prompt that later batches read on.
            batch.push(2, 4, 1);
            batch.sequences[2].length = 40;
            batch.to_device(&device, &[0; 18]).unwrap();
            let BatchRotation::Device(rotation) = rotary.of(&batch, 64).unwrap() else {
                panic!("on a device")
            };
            let Rotation { cos, sin, .. } = rotary.at(&batch);
            assert_eq!(found(&rotation, &device, 18), [cos, sin]);
        }
    }

    #[test]
    fn tables_that_no_length_changes_serve_prompts_too() {
        let mut whole = Batch::default();
        whole.push(0, 0, 100);
        for scaling in [RopeScaling::Unscaled, RopeScaling::Linear { factor: 3.0 }] {
            let rotary = scaled(scaling);
            assert_eq!(rotary.by_position(100).cos, rotary.at(&whole).cos);
        }
    }

    #[test]
    fn tables_that_a_recorded_step_refers_to_outlive_longer_ones() {
        let (device, _) = StandIn::open(1 << 20);
        let rotary = scaled(RopeScaling::Unscaled);
        let address = rotary.tables_of(&device, 100).unwrap().cos.address();
        let first: Vec<f32> = rotary.by_position(1024).cos;
        assert_eq!(rotary.tables_of(&device, 5000).unwrap().positions, 8192);
        // What asks for as much now gets other memory.
        let other = device.upload(&vec![7.0f32; first.len()]).unwrap();
        assert_ne!(other.address(), address);
        let kept = rotary.tables.lock().unwrap()[0].cos.clone();
        assert_eq!((kept.address(), device.read::<f32>(&kept, 0, first.len()).unwrap()), (address, first));
    }
}
