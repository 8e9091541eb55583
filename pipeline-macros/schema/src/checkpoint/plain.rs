//! A tensor's description in the form that everyone writes: a shortcut past the scanner.
//!
//! Nine tenths of what is read of a checkpoint while compiling are such descriptions, and without optimisation every
//! call counts: this is one loop after the other over bytes. What is written in any other way is left to the scanner.

use super::StoredDtype;

/// `{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}`, with a space after every `:` and `,` or without.
pub(super) struct Plain {
    pub(super) dtype: StoredDtype,
    pub(super) shape: Vec<usize>,
    pub(super) offsets: (u64, u64),
    /// How many bytes it takes.
    pub(super) length: usize,
}

/// More dimensions than this are not plain.
const DIMENSIONS: usize = 8;

/// What stands around the values of a description, as the format's library writes it and as `snapshot` does.
const COMPACT: [&[u8]; 3] = [b"{\"dtype\":\"", b"\",\"shape\":[", b"],\"data_offsets\":["];
const SPACED: [&[u8]; 3] = [b"{\"dtype\": \"", b"\", \"shape\": [", b"], \"data_offsets\": ["];

/// The description at the beginning of `text`, if it is plain.
pub(super) fn description(text: &[u8]) -> Option<Plain> {
    let spaced = text.len() > 9 && text[9] == b' ';
    let around = if spaced { SPACED } else { COMPACT };
    let begin = after(text, 0, around[0])?;
    let mut end = begin;
    while end < text.len() && text[end] != b'"' && text[end] != b'\\' {
        end += 1;
    }
    let dtype = StoredDtype::from_name(std::str::from_utf8(&text[begin..end]).ok()?);
    let mut sizes = [0; DIMENSIONS];
    let (count, end) = numbers(text, after(text, end, around[1])?, &mut sizes)?;
    let mut shape = Vec::with_capacity(count);
    let mut index = 0;
    while index < count {
        shape.push(usize::try_from(sizes[index]).ok()?);
        index += 1;
    }
    let mut offsets = [0; 2];
    let (count, end) = numbers(text, after(text, end, around[2])?, &mut offsets)?;
    let ends = count == 2 && text.len() - end >= 2 && text[end + 1] == b'}';
    ends.then_some(Plain { dtype, shape, offsets: (offsets[0], offsets[1]), length: end + 2 })
}

/// Where `expected` ends, if it stands at `at`.
fn after(text: &[u8], at: usize, expected: &[u8]) -> Option<usize> {
    let end = at + expected.len();
    if end <= text.len() && &text[at..end] == expected { Some(end) } else { None }
}

/// The whole numbers of a list that begins before `at`, how many they are, and where its closing bracket stands.
fn numbers(text: &[u8], mut at: usize, numbers: &mut [u64]) -> Option<(usize, usize)> {
    let mut count = 0;
    loop {
        let begin = at;
        let mut number = 0;
        while at < text.len() && text[at] >= b'0' && text[at] <= b'9' {
            // Of more digits the scanner says whether they are too many.
            if at == begin + 18 {
                return None;
            }
            number = number * 10 + (text[at] - b'0') as u64;
            at += 1;
        }
        if at == text.len() {
            return None;
        }
        let ends = text[at] == b']';
        if at == begin {
            // The list of no number; behind a comma there is one.
            return if ends && count == 0 { Some((0, at)) } else { None };
        }
        if count == numbers.len() {
            return None;
        }
        numbers[count] = number;
        count += 1;
        if ends {
            return Some((count, at));
        }
        if text[at] != b',' {
            return None;
        }
        at += 1;
        if at < text.len() && text[at] == b' ' {
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: [&str; 4] = [
        r#"{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"#,
        r#"{"dtype": "F8_E4M3", "shape": [12], "data_offsets": [100, 112]}, "next": 1"#,
        r#"{"dtype":"F32","shape":[],"data_offsets":[0,4]}"#,
        r#"{"dtype":"I64","shape":[1, 1],"data_offsets":[18446744073709551,999999999999999999]}}"#,
    ];

    #[test]
    fn what_everyone_writes_is_plain() {
        let read = |text: &str| {
            let plain = description(text.as_bytes()).expect(text);
            assert_eq!(&text[plain.length - 1..plain.length], "}");
            (plain.dtype.name().to_owned(), plain.shape, plain.offsets)
        };
        assert_eq!(read(WRITTEN[0]), ("BF16".to_owned(), vec![2, 3], (0, 12)));
        assert_eq!(read(WRITTEN[1]), ("F8_E4M3".to_owned(), vec![12], (100, 112)));
        assert_eq!(read(WRITTEN[2]), ("F32".to_owned(), vec![], (0, 4)));
        let large = (18_446_744_073_709_551, 999_999_999_999_999_999);
        assert_eq!(read(WRITTEN[3]), ("I64".to_owned(), vec![1, 1], large));
    }

    #[test]
    fn everything_else_is_left_to_the_scanner() {
        for text in [
            r#"{"shape":[2,3],"dtype":"BF16","data_offsets":[0,12]}"#,
            r#"{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12],"more":1}"#,
            r#"{"dtype":"BF16" ,"shape":[2,3],"data_offsets":[0,12]}"#,
            r#"{"dtype":"BF\u0031","shape":[2,3],"data_offsets":[0,12]}"#,
            r#"{"dtype":"BF16","shape":[2,-3],"data_offsets":[0,12]}"#,
            r#"{"dtype":"BF16","shape":[2,3.0],"data_offsets":[0,12]}"#,
            r#"{"dtype":"BF16","shape":[2,3,],"data_offsets":[0,12]}"#,
            r#"{"dtype":"BF16","shape":[2,3],"data_offsets":[0]}"#,
            r#"{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12,24]}"#,
            r#"{"dtype":"BF16","shape":[2,3],"data_offsets":[0,1000000000000000000]}"#,
            r#"{"dtype":"BF16","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,2]}"#,
        ] {
            assert!(description(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn no_text_is_too_short() {
        for text in WRITTEN {
            let end = description(text.as_bytes()).expect(text).length;
            for length in 0..end {
                assert!(description(&text.as_bytes()[..length]).is_none(), "{}", &text[..length]);
            }
        }
    }
}
