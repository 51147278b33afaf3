//! Reading choices from bytes that a fuzzer made up.

/// Reads bytes one after the other; past the end everything is zero.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a>(&'a [u8]);

/// Bytes of the length before a frame.
const LENGTH_BYTES: usize = 2;

impl<'a> Cursor<'a> {
    /// From the first byte.
    pub fn new(data: &'a [u8]) -> Self {
        Cursor(data)
    }

    /// Whether all bytes were read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// The next two bytes, the smaller first.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// The next bytes behind a length of two bytes; as many as are left, if those are fewer.
    pub fn frame(&mut self) -> &'a [u8] {
        let length = usize::from(self.short()).min(self.0.len());
        let (frame, rest) = self.0.split_at(length);
        self.0 = rest;
        frame
    }
}

/// Bytes that [`Cursor::frame`] reads: at most 65,535, what is more is cut off.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut framed = Vec::with_capacity(LENGTH_BYTES + bytes.len());
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(&bytes[..usize::from(length)]);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_the_end_is_zero() {
        let data = [frame(b"one"), frame(b""), frame(b"two"), vec![9, 0, 7]].concat();
        let mut cursor = Cursor::new(&data);
        let frames: Vec<&[u8]> = (0..4).map(|_| cursor.frame()).collect();
        assert_eq!(frames, [&b"one"[..], b"", b"two", &[7]]);
        assert!(cursor.is_empty());
        assert_eq!((cursor.byte(), cursor.short(), cursor.below(3)), (0, 0, 0));
    }
}
