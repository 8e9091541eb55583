//! The gathering of embeddings on a GPU.

use pipeline_schema::DType;

use crate::error::Result;
use crate::gpu::testing::{download, poisoned, random, upload};
use crate::gpu::{Buffer, Device, Launch, PRELUDE, Source, suffix};
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::{expect, threads_for_row};

/// The kernels.
pub static SOURCE: Source = Source { name: "embedding", parts: &[PRELUDE, include_str!("gpu.cu")] };

/// The shape of an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingShape {
    /// Tokens to embed.
    pub rows: usize,
    /// Rows of the table.
    pub vocabulary: usize,
    /// Elements of a row.
    pub width: usize,
}

/// hidden = table\[tokens\]; a token outside the vocabulary gives zeros.
///
/// table: (vocabulary, width) of `dtype`; tokens: (rows) `u32`; hidden: (rows, width) `f32`.
///
/// # Panics
/// Where a buffer is too small for the shape.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn embedding(
    device: &Device,
    table: &Buffer,
    tokens: &Buffer,
    hidden: &Buffer,
    shape: EmbeddingShape,
    dtype: DType,
) -> Result<()> {
    let EmbeddingShape { rows, vocabulary, width } = shape;
    expect(table, "table", &[vocabulary, width], dtype.size());
    expect(tokens, "tokens", &[rows], 4);
    expect(hidden, "hidden", &[rows, width], 4);
    let kernel = format!("embedding_{}", suffix(dtype));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(rows, 1, 1).threads(threads_for_row(width));
    let launch = launch.buffer(table).buffer(tokens).buffer(hidden).number(vocabulary).number(width);
    // SAFETY: a block for each row, every buffer holds its shape, and the kernel checks the tokens.
    unsafe { launch.run() }
}

/// Every kernel beside the definition.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for dtype in DType::ALL {
        for (rows, width) in [(1, 1), (3, 24), (7, 67), (40, 4096)] {
            let shape = EmbeddingShape { rows, vocabulary: 50, width };
            let (table, rounded) = upload(device, &random(50 * width, 1), dtype)?;
            let mut tokens: Vec<u32> = (0..rows as u32).map(|row| row * 17 % 50).collect();
            if rows > 2 {
                (tokens[1], tokens[2]) = (50, u32::MAX);
            }
            let hidden = poisoned(device, rows * width, DType::F32)?;
            embedding(device, &table, &device.upload(&tokens)?, &hidden, shape, dtype)?;
            let row = |&token: &u32| match rounded.chunks_exact(width).nth(token as usize) {
                Some(row) => row.to_vec(),
                None => vec![0.0; width],
            };
            let expected: Vec<f32> = tokens.iter().flat_map(row).collect();
            let found = download(device, &hidden, rows * width, DType::F32)?;
            checks.push(Check::compare(
                "embedding",
                format!("{dtype} {rows}x{width}"),
                &found,
                &expected,
                0.0,
            ));
        }
    }
    Ok(checks)
}

/// How fast they are, with the errors of what was measured.
///
/// # Errors
/// As [`checks`].
pub fn speeds(device: &Device) -> Result<Vec<Check>> {
    let (dtype, width) = (DType::BF16, 4096);
    let shape = EmbeddingShape { rows: 8192, vocabulary: 8192, width };
    let (table, rounded) = upload(device, &random(shape.vocabulary * width, 1), dtype)?;
    // Every row of the table once.
    let tokens: Vec<u32> = (0..shape.rows).map(|row| (row * 4099 % shape.vocabulary) as u32).collect();
    let expected: Vec<f32> =
        tokens.iter().flat_map(|&token| &rounded[token as usize * width..][..width]).copied().collect();
    let tokens = device.upload(&tokens)?;
    let hidden = poisoned(device, shape.rows * width, DType::F32)?;
    let microseconds = time(device, 5, 20, || embedding(device, &table, &tokens, &hidden, shape, dtype))?;
    let found = download(device, &hidden, shape.rows * width, DType::F32)?;
    let case = format!("{dtype} {}x{width}", shape.rows);
    let check = Check::compare("embedding", case, &found, &expected, 0.0);
    Ok(vec![check.timed(microseconds, Work::Bytes((shape.rows * (4 + width * (dtype.size() + 4))) as f64))])
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernels_agree_with_the_definition() {
        crate::kernels::check::assert_passes(super::checks);
        crate::kernels::check::assert_passes(super::speeds);
    }
}
