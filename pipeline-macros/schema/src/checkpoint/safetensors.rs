//! The header of a safetensors file: 8 bytes of length, then JSON.
//!
//! The format: <https://github.com/huggingface/safetensors#format>. As in the reference implementation, the
//! tensors' bytes follow one another without a gap and end where the file ends.

use std::io::Read;
use std::path::Path;

use super::hash::Hasher;
use super::json::{self, problem};
use super::scan::Scanner;
use super::{HEADER_LIMIT, StoredDtype, TensorInfo, WeightFile};
use crate::problem::{Problem, quoted};

/// More dimensions than any tensor has.
const DIMENSIONS_LIMIT: usize = 64;

/// Reads the header of the file `name`, called `shown` in problems, adds its tensors to `tensors` as those
/// of file number `file`, and its bytes to `hasher`.
pub(super) fn read(
    path: &Path,
    shown: &str,
    (file, name): (usize, &str),
    tensors: &mut Vec<(String, TensorInfo)>,
    hasher: &mut Hasher,
) -> Result<WeightFile, Problem> {
    let (mut reader, length) = json::open(path, shown)?;
    let unreadable = |error: std::io::Error| problem(shown, format!("the file cannot be read: {error}"));
    if length < 8 {
        let message =
            format!("the file is truncated: a header takes at least 8 bytes, but the file has {length}");
        return Err(problem(shown, message));
    }
    let mut prefix = [0; 8];
    reader.read_exact(&mut prefix).map_err(unreadable)?;
    if &prefix == b"version " {
        return Err(problem(shown, "the file is a pointer of Git LFS, not the weights: run `git lfs pull`"));
    }
    let header_length = u64::from_le_bytes(prefix);
    if header_length > HEADER_LIMIT {
        let message = format!(
            "the header's length is {header_length} bytes, more than the limit of {HEADER_LIMIT}: \
             the file is damaged or is not safetensors"
        );
        return Err(problem(shown, message));
    }
    if header_length > length - 8 {
        let message = format!(
            "the file is truncated: its header alone takes {} bytes, but the file has {length}",
            header_length + 8
        );
        return Err(problem(shown, message));
    }
    let mut header = vec![0; header_length as usize];
    reader.read_exact(&mut header).map_err(unreadable)?;
    hasher.write(name.as_bytes());
    hasher.write(&header);

    let first = tensors.len();
    parse(&header, file, tensors)
        .map_err(|error| problem(shown, format!("the header is malformed: {error}")))?;
    let data = length - 8 - header_length;
    lay_out(&mut tensors[first..], header_length, data)
        .map_err(|message| problem(shown, format!("{message}; download the file again")))?;
    Ok(WeightFile { name: name.to_owned(), length, header_length })
}

/// Parses the JSON of a header. The ranges still count from the first byte after it.
fn parse(header: &[u8], file: usize, tensors: &mut Vec<(String, TensorInfo)>) -> Result<(), String> {
    let mut scanner = Scanner::new(header)?;
    self::tensors(&mut scanner, file, tensors)?;
    scanner.end()
}

/// The tensors of a header, by name.
pub(super) fn tensors(
    scanner: &mut Scanner<'_>,
    file: usize,
    tensors: &mut Vec<(String, TensorInfo)>,
) -> Result<(), String> {
    scanner.object("an object of tensors by name", |scanner, name| {
        if name == "__metadata__" {
            return scanner.skip();
        }
        match tensor(scanner, file) {
            Ok(tensor) => tensors.push((name.into_owned(), tensor)),
            Err(error) => return Err(format!("tensor {}: {error}", quoted(&name))),
        }
        Ok(())
    })
}

/// One tensor: `{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}`.
fn tensor(scanner: &mut Scanner<'_>, file: usize) -> Result<TensorInfo, String> {
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    scanner.object("an object with `dtype`, `shape` and `data_offsets`", |scanner, field| {
        let of_field = |error: String| format!("`{field}`: {error}");
        match &*field {
            "dtype" => {
                let name = scanner.string("the name of a dtype").map_err(of_field)?;
                dtype = Some(StoredDtype::from_name(&name));
            }
            "shape" => shape = Some(read_shape(scanner).map_err(of_field)?),
            "data_offsets" => offsets = Some(read_offsets(scanner).map_err(of_field)?),
            _ => scanner.skip()?,
        }
        Ok(())
    })?;
    let dtype = dtype.ok_or("`dtype` is missing")?;
    let shape = shape.ok_or("`shape` is missing")?;
    let (start, end) = offsets.ok_or("`data_offsets` is missing")?;
    if start > end {
        return Err(format!("`data_offsets` [{start}, {end}] end before they begin"));
    }
    check_size(&dtype, &shape, end - start)?;
    Ok(TensorInfo { dtype, shape, file, range: start..end })
}

/// The sizes of a tensor: `[2, 3]`.
fn read_shape(scanner: &mut Scanner<'_>) -> Result<Vec<usize>, String> {
    let mut shape = Vec::with_capacity(2);
    scanner.list("a list of sizes", |scanner| {
        let size = scanner.unsigned("a size")?;
        if shape.len() == DIMENSIONS_LIMIT {
            return Err(format!("more than {DIMENSIONS_LIMIT} dimensions"));
        }
        shape.push(
            usize::try_from(size)
                .map_err(|_| format!("size {size} is more than this machine can address"))?,
        );
        Ok(())
    })?;
    Ok(shape)
}

/// Where the bytes of a tensor begin and end: `[0, 24]`.
fn read_offsets(scanner: &mut Scanner<'_>) -> Result<(u64, u64), String> {
    let mut offsets = [0; 2];
    let mut count = 0;
    scanner.list("a list of two offsets", |scanner| {
        let offset = scanner.unsigned("an offset")?;
        if count < 2 {
            offsets[count] = offset;
        }
        count += 1;
        Ok(())
    })?;
    match count {
        2 => Ok((offsets[0], offsets[1])),
        _ => Err(format!("expected two offsets, found {count}")),
    }
}

/// The bytes of a tensor are as many as its shape and dtype take.
fn check_size(dtype: &StoredDtype, shape: &[usize], bytes: u64) -> Result<(), String> {
    let Some(bits) = dtype.bits() else { return Ok(()) };
    let needed = shape
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size as u64))
        .and_then(|numbers| numbers.checked_mul(u64::from(bits)));
    match needed {
        Some(needed) if needed % 8 == 0 && needed / 8 == bytes => Ok(()),
        Some(needed) => Err(format!(
            "`shape` {shape:?} of {dtype} takes {} bytes, but `data_offsets` span {bytes}",
            needed.div_ceil(8),
        )),
        None => Err(format!("`shape` {shape:?} has more numbers than any file can hold")),
    }
}

/// Checks that the tensors fill the `data` bytes after the header, without a gap and without overlap, and
/// makes their ranges count from the beginning of the file.
pub(super) fn lay_out(
    tensors: &mut [(String, TensorInfo)],
    header_length: u64,
    data: u64,
) -> Result<(), String> {
    let start = 8 + header_length;
    if let Some((name, tensor)) = tensors.iter().max_by_key(|(_, tensor)| tensor.range.end)
        && tensor.range.end > data
    {
        // Saturating: an end near 2^64 is wrong however it is told.
        let needed = tensor.range.end.saturating_add(start);
        return Err(format!(
            "the file is truncated or its header is wrong: tensor {} ends at byte {needed}, but the file has {} bytes",
            quoted(name),
            start + data,
        ));
    }
    // Files list their tensors in the order of their bytes; others are sorted first.
    let mut order: Vec<u32> = Vec::new();
    if tensors.windows(2).any(|pair| pair[0].1.range.end != pair[1].1.range.start) {
        order = (0..tensors.len() as u32).collect();
        order.sort_by_key(|&index| {
            let range = &tensors[index as usize].1.range;
            (range.start, range.end)
        });
    }
    let at = |position: usize| order.get(position).map_or(position, |&index| index as usize);
    let mut end = 0;
    let mut position = 0;
    while position < tensors.len() {
        let range = tensors[at(position)].1.range.clone();
        if range.start != end {
            let name = quoted(&tensors[at(position)].0);
            return Err(if range.start < end {
                let before = quoted(&tensors[at(position - 1)].0);
                format!("`data_offsets` of the tensors {before} and {name} overlap")
            } else {
                format!("{} bytes before tensor {name} belong to no tensor", range.start - end)
            });
        }
        end = range.end;
        tensors[at(position)].1.range = range.start + start..range.end + start;
        position += 1;
    }
    if end == data {
        Ok(())
    } else {
        Err(format!("the header describes {} bytes, but the file has {}", start + end, start + data))
    }
}
