//! Element-wise kernels on a GPU.

use pipeline_schema::DType;

use crate::error::Result;
use crate::gpu::testing::{download, poisoned, random, rounding, upload};
use crate::gpu::{Buffer, Device, Launch, PRELUDE, Source, suffix};
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::{blocks_for, expect, threads_for_row};

/// The kernels.
pub static SOURCE: Source = Source { name: "elementwise", parts: &[PRELUDE, include_str!("gpu.cu")] };

/// y = x in another number format; one of both is `f32`.
///
/// # Panics
/// Where a buffer is too small for `length` elements, or neither format is `f32`.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn convert(device: &Device, x: &Buffer, from: DType, y: &Buffer, to: DType, length: usize) -> Result<()> {
    assert!(from == DType::F32 || to == DType::F32, "convert: from or to `f32`, not from `{from}` to `{to}`");
    expect(x, "x", &[length], from.size());
    expect(y, "y", &[length], to.size());
    if length == 0 {
        return Ok(());
    }
    let kernel = format!("convert_{}_{}", suffix(from), suffix(to));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(blocks_for(device, length), 1, 1);
    // SAFETY: both buffers hold the length.
    unsafe { launch.buffer(x).buffer(y).address(length as u64).run() }
}

/// hidden += x: hidden is `f32`, x of `dtype`.
///
/// # Panics
/// Where a buffer is too small for `length` elements.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn add(device: &Device, hidden: &Buffer, x: &Buffer, length: usize, dtype: DType) -> Result<()> {
    expect(hidden, "hidden", &[length], 4);
    expect(x, "x", &[length], dtype.size());
    if length == 0 {
        return Ok(());
    }
    let kernel = format!("add_{}", suffix(dtype));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(blocks_for(device, length), 1, 1);
    // SAFETY: both buffers hold the length.
    unsafe { launch.buffer(hidden).buffer(x).address(length as u64).run() }
}

/// y += bias for every row.
///
/// y: (rows, width) of `dtype`; bias: (width) `f32`.
///
/// # Panics
/// Where a buffer is too small for the shape.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn add_bias(
    device: &Device,
    y: &Buffer,
    bias: &Buffer,
    rows: usize,
    width: usize,
    dtype: DType,
) -> Result<()> {
    expect(y, "y", &[rows, width], dtype.size());
    expect(bias, "bias", &[width], 4);
    if rows * width == 0 {
        return Ok(());
    }
    let kernel = format!("add_bias_{}", suffix(dtype));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(blocks_for(device, rows * width), 1, 1);
    // SAFETY: both buffers hold their shapes.
    unsafe { launch.buffer(y).buffer(bias).number(rows).number(width).run() }
}

/// The rows of a gathering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectShape {
    /// Rows of x.
    pub x_rows: usize,
    /// Rows of y, and indices.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
}

/// y = x\[indices\]; an index beyond x gives zeros.
///
/// x: (x_rows, width), y: (rows, width), both of `dtype`; indices: (rows) `u32`.
///
/// # Panics
/// Where a buffer is too small for the shape.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn select_rows(
    device: &Device,
    x: &Buffer,
    indices: &Buffer,
    y: &Buffer,
    shape: SelectShape,
    dtype: DType,
) -> Result<()> {
    let SelectShape { x_rows, rows, width } = shape;
    expect(x, "x", &[x_rows, width], dtype.size());
    expect(indices, "indices", &[rows], 4);
    expect(y, "y", &[rows, width], dtype.size());
    let kernel = format!("select_rows_{}", suffix(dtype));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(rows, 1, 1).threads(threads_for_row(width));
    let launch = launch.buffer(x).buffer(indices).buffer(y).number(x_rows).number(width);
    // SAFETY: a block for each row, every buffer holds its shape, and the kernel checks the indices.
    unsafe { launch.run() }
}

/// Every kernel beside the definition.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for dtype in DType::ALL {
        for (rows, width) in [(1, 1), (3, 24), (5, 67), (70, 4096)] {
            let case = format!("{dtype} {rows}x{width}");
            let length = rows * width;
            let (x, rounded) = upload(device, &random(length, 1), dtype)?;
            let values = random(length, 2);
            let hidden = device.upload(&values)?;
            add(device, &hidden, &x, length, dtype)?;
            let expected: Vec<f32> = values.iter().zip(&rounded).map(|(value, x)| value + x).collect();
            let found = download(device, &hidden, length, DType::F32)?;
            checks.push(Check::compare("add", &*case, &found, &expected, 0.0));

            let y = poisoned(device, length, dtype)?;
            convert(device, &hidden, DType::F32, &y, dtype, length)?;
            let (_, expected) = upload(device, &expected, dtype)?;
            let found = download(device, &y, length, dtype)?;
            checks.push(Check::compare("convert", &*case, &found, &expected, 0.0));
            device.fill(&hidden, 0xff)?;
            convert(device, &y, dtype, &hidden, DType::F32, length)?;
            let found = download(device, &hidden, length, DType::F32)?;
            checks.push(Check::compare("convert back", &*case, &found, &expected, 0.0));

            let bias = random(width, 3);
            add_bias(device, &y, &device.upload(&bias)?, rows, width, dtype)?;
            let biased = expected.iter().enumerate().map(|(index, y)| y + bias[index % width]);
            let found = download(device, &y, length, dtype)?;
            let biased: Vec<f32> = biased.collect();
            checks.push(Check::compare("add_bias", &*case, &found, &biased, rounding(dtype)));

            let indices = [rows as u32 - 1, 0, rows as u32, u32::MAX];
            let selected = poisoned(device, 4 * width, dtype)?;
            let shape = SelectShape { x_rows: rows, rows: 4, width };
            select_rows(device, &x, &device.upload(&indices)?, &selected, shape, dtype)?;
            let mut expected = [&rounded[length - width..], &rounded[..width]].concat();
            expected.resize(4 * width, 0.0);
            let found = download(device, &selected, 4 * width, dtype)?;
            checks.push(Check::compare("select_rows", case, &found, &expected, 0.0));
        }
    }
    Ok(checks)
}

/// How fast they are, with the errors of what was measured.
///
/// # Errors
/// As [`checks`].
pub fn speeds(device: &Device) -> Result<Vec<Check>> {
    let (dtype, rows, width) = (DType::BF16, 8192, 4096);
    let (length, case) = (rows * width, format!("{dtype} {rows}x{width}"));
    let (x, rounded) = upload(device, &random(length, 1), dtype)?;
    let (values, bias) = (random(length, 2), random(width, 3));
    let (hidden, biases) = (device.upload(&values)?, device.upload(&bias)?);
    let y = poisoned(device, length, dtype)?;
    let mut checks = Vec::new();
    let mut enter = |kernel: &str, found: &[f32], expected: &[f32], bound, microseconds, of_an_element| {
        let check = Check::compare(kernel, &*case, found, expected, bound);
        checks.push(check.timed(microseconds, Work::Bytes((length * of_an_element) as f64)));
    };

    let microseconds = time(device, 5, 20, || convert(device, &hidden, DType::F32, &y, dtype, length))?;
    let (_, converted) = upload(device, &values, dtype)?;
    enter("convert", &download(device, &y, length, dtype)?, &converted, 0.0, microseconds, 4 + 2);

    add_bias(device, &y, &biases, rows, width, dtype)?;
    let found = download(device, &y, length, dtype)?;
    let expected: Vec<f32> = converted.iter().zip(bias.iter().cycle()).map(|(y, bias)| y + bias).collect();
    let microseconds = time(device, 5, 20, || add_bias(device, &y, &biases, rows, width, dtype))?;
    enter("add_bias", &found, &expected, rounding(dtype), microseconds, 2 + 2);

    add(device, &hidden, &x, length, dtype)?;
    let found = download(device, &hidden, length, DType::F32)?;
    let expected: Vec<f32> = values.iter().zip(&rounded).map(|(value, x)| value + x).collect();
    let microseconds = time(device, 5, 20, || add(device, &hidden, &x, length, dtype))?;
    enter("add", &found, &expected, 0.0, microseconds, 4 + 4 + 2);

    // Every row once.
    let indices: Vec<u32> = (0..rows).map(|row| (row * 4099 % rows) as u32).collect();
    let expected: Vec<f32> =
        indices.iter().flat_map(|&row| &rounded[row as usize * width..][..width]).copied().collect();
    let (indices, shape) = (device.upload(&indices)?, SelectShape { x_rows: rows, rows, width });
    let microseconds = time(device, 5, 20, || select_rows(device, &x, &indices, &y, shape, dtype))?;
    let found = download(device, &y, length, dtype)?;
    enter("select_rows", &found, &expected, 0.0, microseconds, 2 + 2);
    Ok(checks)
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernels_agree_with_the_definition() {
        crate::kernels::check::assert_passes(super::checks);
        crate::kernels::check::assert_passes(super::speeds);
    }
}
