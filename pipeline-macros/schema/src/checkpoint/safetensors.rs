//! The header of a safetensors file: 8 bytes of length, then JSON.
//!
//! The format: <https://github.com/huggingface/safetensors#format>. As in the reference implementation, the
//! tensors' bytes follow one another without a gap and end where the file ends.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::hash::Hasher;
use super::json::{self, problem};
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
    lay_out(&mut tensors[first..], header_length, data).map_err(|message| problem(shown, message))?;
    Ok(WeightFile { name: name.to_owned(), length, header_length })
}

/// Parses the JSON of a header. The ranges still count from the first byte after it.
fn parse(header: &[u8], file: usize, tensors: &mut Vec<(String, TensorInfo)>) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(header);
    deserializer.deserialize_map(HeaderVisitor { file, tensors })?;
    deserializer.end()
}

/// Checks that the tensors fill the `data` bytes after the header, without a gap and without overlap, and
/// makes their ranges count from the beginning of the file.
fn lay_out(tensors: &mut [(String, TensorInfo)], header_length: u64, data: u64) -> Result<(), String> {
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

/// The object of tensors by name, with `__metadata__` among them.
struct HeaderVisitor<'a> {
    file: usize,
    tensors: &'a mut Vec<(String, TensorInfo)>,
}

impl<'de> Visitor<'de> for HeaderVisitor<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            match map.next_value_seed(TensorSeed { file: self.file }) {
                Ok(tensor) => self.tensors.push((name, tensor)),
                Err(error) => {
                    return Err(A::Error::custom(format_args!("tensor {}: {error}", quoted(&name))));
                }
            }
        }
        Ok(())
    }
}

/// One tensor: `{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}`.
#[derive(Clone, Copy)]
struct TensorSeed {
    file: usize,
}

impl<'de> DeserializeSeed<'de> for TensorSeed {
    type Value = TensorInfo;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TensorInfo, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TensorSeed {
    type Value = TensorInfo;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with `dtype`, `shape` and `data_offsets`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TensorInfo, A::Error> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Dtype => dtype = Some(map.next_value::<Dtype>().map_err(of_field("dtype"))?.0),
                Field::Shape => shape = Some(map.next_value::<Shape>().map_err(of_field("shape"))?.0),
                Field::Offsets => {
                    offsets = Some(map.next_value::<[u64; 2]>().map_err(of_field("data_offsets"))?);
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let missing = |field| A::Error::custom(format_args!("`{field}` is missing"));
        let dtype: StoredDtype = dtype.ok_or_else(|| missing("dtype"))?;
        let shape: Vec<usize> = shape.ok_or_else(|| missing("shape"))?;
        let [start, end] = offsets.ok_or_else(|| missing("data_offsets"))?;
        if start > end {
            return Err(A::Error::custom(format_args!(
                "`data_offsets` [{start}, {end}] end before they begin"
            )));
        }
        check_size(&dtype, &shape, end - start).map_err(A::Error::custom)?;
        Ok(TensorInfo { dtype, shape, file: self.file, range: start..end })
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

/// Names the field before an error in its value.
fn of_field<E: Error>(field: &'static str) -> impl Fn(E) -> E {
    move |error| E::custom(format_args!("`{field}`: {error}"))
}

enum Field {
    Dtype,
    Shape,
    Offsets,
    Other,
}

struct Dtype(StoredDtype);

struct Shape(Vec<usize>);

impl<'de> serde::Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field, D::Error> {
        struct FieldVisitor;
        impl Visitor<'_> for FieldVisitor {
            type Value = Field;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field of a tensor")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Field, E> {
                Ok(match text {
                    "dtype" => Field::Dtype,
                    "shape" => Field::Shape,
                    "data_offsets" => Field::Offsets,
                    _ => Field::Other,
                })
            }
        }
        deserializer.deserialize_str(FieldVisitor)
    }
}

impl<'de> serde::Deserialize<'de> for Dtype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Dtype, D::Error> {
        struct DtypeVisitor;
        impl Visitor<'_> for DtypeVisitor {
            type Value = Dtype;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a dtype")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Dtype, E> {
                Ok(Dtype(StoredDtype::from_name(text)))
            }
        }
        deserializer.deserialize_str(DtypeVisitor)
    }
}

impl<'de> serde::Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::with_capacity(2);
                while let Some(size) = sizes.next_element::<usize>()? {
                    if shape.len() == DIMENSIONS_LIMIT {
                        return Err(A::Error::custom(format_args!(
                            "more than {DIMENSIONS_LIMIT} dimensions"
                        )));
                    }
                    shape.push(size);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}
