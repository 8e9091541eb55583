//! The index of a checkpoint whose weights are spread over several files.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::Tensors;
use crate::problem::quoted;

/// Which shard has which tensor.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The names of the shards, each once, sorted.
    pub(super) shards: Vec<String>,
    /// Every tensor with the number of its shard.
    tensors: Vec<(String, usize)>,
}

impl Index {
    /// Parses `model.safetensors.index.json`. The error says what is wrong in which field.
    pub(super) fn parse(json: &[u8]) -> Result<Index, String> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let mut weight_map = None;
        (&mut deserializer)
            .deserialize_map(TopVisitor { weight_map: &mut weight_map })
            .and_then(|()| deserializer.end())
            .map_err(|error| error.to_string())?;
        let WeightMap { shards, mut tensors } = weight_map.ok_or("`weight_map` is missing")?;
        if tensors.is_empty() {
            return Err("`weight_map` names no tensor".to_owned());
        }
        if let Some(shard) = shards.keys().find(|shard| !is_file_name(shard)) {
            return Err(format!(
                "`weight_map` names the file {}, expected the name of a file beside the index",
                quoted(shard)
            ));
        }
        // The shards were numbered as they came; now they are numbered in the order of their names.
        let mut numbers = vec![0; shards.len()];
        shards.values().enumerate().for_each(|(number, &came)| numbers[came] = number);
        tensors.iter_mut().for_each(|(_, shard)| *shard = numbers[*shard]);
        Ok(Index { shards: shards.into_keys().collect(), tensors })
    }

    /// Every tensor is in the shard that the index names. The error names the first that is not.
    pub(super) fn check(&self, found: &Tensors) -> Result<(), String> {
        let lacks = |name: &str, shard: usize| {
            let tensor = found.get(name);
            let (name, shard) = (quoted(name), quoted(&self.shards[shard]));
            match tensor {
                Some(tensor) => format!(
                    "`weight_map` says that tensor {name} is in {shard}, but it is in {}",
                    quoted(&self.shards[tensor.file])
                ),
                None => format!("`weight_map` says that tensor {name} is in {shard}, but that file lacks it"),
            }
        };
        let mut found_in_order = found.iter();
        for (name, shard) in &self.tensors {
            // Index and headers are mostly in the same order: then the next one is it.
            let tensor = match found_in_order.next() {
                Some((next, tensor)) if next == name => Some(tensor),
                _ => found.get(name),
            };
            if tensor.is_none_or(|tensor| tensor.file != *shard) {
                return Err(lacks(name, *shard));
            }
        }
        Ok(())
    }
}

/// A plain name: no folder, no drive, nothing that leads elsewhere.
fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', ':', '\0'])
}

/// `{"metadata": ..., "weight_map": {...}}`.
struct TopVisitor<'a> {
    weight_map: &'a mut Option<WeightMap>,
}

impl<'de> Visitor<'de> for TopVisitor<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with `weight_map`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "weight_map" {
                let weight_map = map.next_value_seed(WeightMap::default());
                let named = |error| A::Error::custom(format_args!("`weight_map`: {error}"));
                *self.weight_map = Some(weight_map.map_err(named)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// `{"model.norm.weight": "model-00002-of-00002.safetensors", ...}`.
#[derive(Default)]
struct WeightMap {
    shards: BTreeMap<String, usize>,
    tensors: Vec<(String, usize)>,
}

impl<'de> DeserializeSeed<'de> for WeightMap {
    type Value = WeightMap;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<WeightMap, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap {
    type Value = WeightMap;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of file names by tensor name")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<WeightMap, A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match map.next_value_seed(ShardSeed(&mut self.shards)) {
                Ok(shard) => self.tensors.push((name, shard)),
                Err(error) => {
                    return Err(A::Error::custom(format_args!("tensor {}: {error}", quoted(&name))));
                }
            }
        }
        Ok(self)
    }
}

/// The name of a shard, as its number.
struct ShardSeed<'a>(&'a mut BTreeMap<String, usize>);

impl<'de> DeserializeSeed<'de> for ShardSeed<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ShardSeed<'_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a file")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        if let Some(&number) = self.0.get(name) {
            return Ok(number);
        }
        let number = self.0.len();
        self.0.insert(name.to_owned(), number);
        Ok(number)
    }
}
