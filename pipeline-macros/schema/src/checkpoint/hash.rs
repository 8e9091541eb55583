//! A hash that is the same on every platform and in every version.

/// Folds 64-bit little-endian words by multiplication, as wyhash does. Tells headers apart; resists nobody.
pub(super) struct Hasher(u64);

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const INCREMENT: u64 = 0xa076_1d64_78bd_642f;

impl Hasher {
    pub(super) fn new() -> Hasher {
        Hasher(INCREMENT)
    }

    /// Takes in `bytes` and how many they are.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        // An indexed loop: iterators cost several times as much in a macro that is built without optimisation.
        let mut index = 0;
        while index < words.len() {
            self.word(u64::from_le_bytes(words[index]));
            index += 1;
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
    }

    pub(super) fn finish(&self) -> u64 {
        self.0
    }

    fn word(&mut self, word: u64) {
        let product = (self.0 ^ word) as u128 * MULTIPLIER as u128;
        self.0 = (product as u64 ^ (product >> 64) as u64).wrapping_add(INCREMENT);
    }
}

#[cfg(test)]
mod tests {
    use super::Hasher;

    fn hash(parts: &[&[u8]]) -> u64 {
        let mut hasher = Hasher::new();
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }

    #[test]
    fn it_depends_on_every_byte_and_on_where_a_part_ends() {
        let text = b"model.safetensors header";
        let whole = hash(&[text]);
        for index in 0..text.len() {
            let mut changed = *text;
            changed[index] ^= 1;
            assert_ne!(hash(&[&changed]), whole);
        }
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"a"]), hash(&[b"a\0"]));
    }

    #[test]
    fn it_never_changes() {
        assert_eq!(hash(&[]), 0xa076_1d64_78bd_642f);
        assert_eq!(hash(&[b"pipelines"]), 0x83de_d10a_eaa9_ddae);
    }
}
