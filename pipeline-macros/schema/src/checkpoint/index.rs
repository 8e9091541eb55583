//! The index of a checkpoint whose weights are spread over several files.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Tensors;
use super::scan::Scanner;
use crate::problem::quoted;

/// Which shard has which tensor.
#[derive(Debug)]
pub(super) struct Index<'a> {
    /// The names of the shards, each once, sorted.
    pub(super) shards: Vec<String>,
    /// Every tensor with the number of its shard.
    tensors: Vec<(Cow<'a, str>, usize)>,
}

impl<'a> Index<'a> {
    /// Parses `model.safetensors.index.json`. The error says what is wrong in which field.
    pub(super) fn parse(json: &'a [u8]) -> Result<Index<'a>, String> {
        let mut scanner = Scanner::new(json)?;
        let mut weight_map = None;
        scanner.object("an object with `weight_map`", |scanner, key| {
            if key != "weight_map" {
                return scanner.skip();
            }
            weight_map = Some(WeightMap::read(scanner).map_err(|error| format!("`weight_map`: {error}"))?);
            Ok(())
        })?;
        scanner.end()?;
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
pub(super) fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', ':', '\0'])
}

/// `{"model.norm.weight": "model-00002-of-00002.safetensors", ...}`, the files as numbers in order of appearance.
#[derive(Default)]
struct WeightMap<'a> {
    shards: BTreeMap<String, usize>,
    tensors: Vec<(Cow<'a, str>, usize)>,
}

impl<'a> WeightMap<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<WeightMap<'a>, String> {
        let mut map = WeightMap::default();
        let mut last = ("", 0);
        scanner.object("an object of file names by tensor name", |scanner, name| {
            // Most tensors are in the same file as the one before.
            if !scanner.repeats(last.0) {
                let shard = scanner.written_string("the name of a file");
                let (raw, shard) = shard.map_err(|error| format!("tensor {}: {error}", quoted(&name)))?;
                let next = map.shards.len();
                let number = *map.shards.entry(shard.into_owned()).or_insert(next);
                last = (raw, number);
            }
            map.tensors.push((name, last.1));
            Ok(())
        })?;
        Ok(map)
    }
}
