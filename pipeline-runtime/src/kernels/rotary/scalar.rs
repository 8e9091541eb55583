//! The rotation as it is defined, in `f64`.

use super::{RotaryShape, RotaryTables};

/// The scalar twin of [`rotary`](super::rotary).
///
/// # Panics
/// Where a length does not fit the shape or a position is not in the tables.
pub fn rotary_scalar(x: &mut [f32], positions: &[usize], tables: RotaryTables<'_>, shape: RotaryShape) {
    shape.check(x, positions, tables);
    let half = shape.rotary_dim / 2;
    for (token, position) in positions.iter().enumerate() {
        for head in 0..shape.heads {
            let start = (token * shape.heads + head) * shape.head_dim;
            for i in 0..half {
                let cos = f64::from(tables.cos[position * half + i]);
                let sin = f64::from(tables.sin[position * half + i]);
                let (a, b) = (f64::from(x[start + i]), f64::from(x[start + half + i]));
                x[start + i] = (a * cos - b * sin) as f32;
                x[start + half + i] = (b * cos + a * sin) as f32;
            }
        }
    }
}
