//! Requests as frames, and responses out of a stream of bytes.

use crate::cobs;
use lampyris_isa::link::{
    ADDRESS_BITS, CRC_BYTES, Command, DELIMITER, MAX_FRAME, MAX_WORDS, REQUEST_HEADER,
    RESPONSE_BIT, RESPONSE_HEADER,
};

/// What the host asks of the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// 32-bit words to be read or written, at most 64.
    pub words: u8,
    /// Byte address, below 2^40.
    pub address: u64,
    /// What is written: 4 bytes for each word, or nothing.
    pub payload: Vec<u8>,
}

impl Request {
    /// The frame with its delimiters.
    pub fn frame(&self, sequence: u8) -> Vec<u8> {
        let mut body = Vec::with_capacity(REQUEST_HEADER + self.payload.len() + CRC_BYTES);
        body.extend([sequence, self.command as u8, self.words]);
        body.extend_from_slice(&self.address.to_le_bytes()[..ADDRESS_BITS as usize / 8]);
        body.extend_from_slice(&self.payload);
        framed(body)
    }
}

/// What the device answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Sequence number of the request.
    pub sequence: u8,
    /// Command byte of the request.
    pub command: u8,
    /// Status byte.
    pub status: u8,
    /// What was read: whole words.
    pub payload: Vec<u8>,
}

impl Response {
    /// The frame with its delimiters, as a device sends it.
    pub fn frame(&self) -> Vec<u8> {
        let words = (self.payload.len() / 4) as u8;
        let mut body = vec![
            self.sequence,
            self.command | RESPONSE_BIT,
            words,
            self.status,
        ];
        body.extend_from_slice(&self.payload);
        framed(body)
    }

    /// Reads what lies between two delimiters.
    ///
    /// # Errors
    /// When it is not a whole, undamaged response.
    pub fn read(coded: &[u8]) -> Result<Response, Malformed> {
        let body = cobs::decode(coded).ok_or(Malformed::Coding)?;
        let (body, crc) = body
            .split_last_chunk::<CRC_BYTES>()
            .ok_or(Malformed::Length)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(Malformed::Crc);
        }
        let (header, payload) = body
            .split_first_chunk::<RESPONSE_HEADER>()
            .ok_or(Malformed::Length)?;
        let [sequence, command, words, status] = *header;
        if usize::from(words) > MAX_WORDS || payload.len() != 4 * usize::from(words) {
            return Err(Malformed::Length);
        }
        if command & RESPONSE_BIT == 0 {
            return Err(Malformed::Direction);
        }
        Ok(Response {
            sequence,
            command: command & !RESPONSE_BIT,
            status,
            payload: payload.to_vec(),
        })
    }
}

/// Why a frame was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// The last group of the coding is cut short.
    Coding,
    /// The CRC is wrong.
    Crc,
    /// The length is not what its header says.
    Length,
    /// It is a request; the line may return what is sent.
    Direction,
    /// It is longer than any frame.
    Long,
}

fn framed(mut body: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&body);
    body.extend(crc.to_le_bytes());
    let mut frame = Vec::with_capacity(MAX_FRAME);
    frame.push(DELIMITER);
    cobs::encode(&body, &mut frame);
    frame.push(DELIMITER);
    frame
}

/// Finds responses in a stream of bytes.
#[derive(Default)]
pub struct Receiver {
    coded: Vec<u8>,
    long: bool,
}

impl Receiver {
    /// Takes the next byte; a delimiter may end a response.
    pub fn push(&mut self, byte: u8) -> Option<Result<Response, Malformed>> {
        if byte != DELIMITER {
            self.long |= self.coded.len() == MAX_FRAME;
            if !self.long {
                self.coded.push(byte);
            }
            return None;
        }
        let coded = std::mem::take(&mut self.coded);
        if std::mem::take(&mut self.long) {
            return Some(Err(Malformed::Long));
        }
        (!coded.is_empty()).then(|| Response::read(&coded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(random: &mut fastrand::Rng, words: usize) -> Response {
        Response {
            sequence: random.u8(..),
            command: random.u8(..0x80),
            status: random.u8(0..7),
            // Many zeros: they are what the coding is about.
            payload: (0..4 * words)
                .map(|_| if random.bool() { 0 } else { random.u8(..) })
                .collect(),
        }
    }

    fn receive(bytes: &[u8]) -> Vec<Response> {
        let mut receiver = Receiver::default();
        let frames = bytes.iter().filter_map(|byte| receiver.push(*byte));
        frames.filter_map(Result::ok).collect()
    }

    #[test]
    fn a_request_has_its_fields_in_order() {
        let request = Request {
            command: Command::WriteMem,
            words: 1,
            address: 0x12_3456_789c,
            payload: vec![1, 0, 2, 0],
        };
        let frame = request.frame(9);
        assert_eq!((frame[0], frame.last()), (0, Some(&0)));
        let body = cobs::decode(&frame[1..frame.len() - 1]).expect("it is coded");
        let expected = [9, 0x21, 1, 0x9c, 0x78, 0x56, 0x34, 0x12, 1, 0, 2, 0];
        assert_eq!(body[..12], expected);
        assert_eq!(body[12..], crc32fast::hash(&expected).to_le_bytes());
    }

    #[test]
    fn responses_come_back_in_any_company() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..500 {
            let words = random.usize(0..=MAX_WORDS);
            let sent = [response(&mut random, words), response(&mut random, 0)];
            let noise: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            let stream = [noise, sent[0].frame(), sent[1].frame()].concat();
            assert!(receive(&stream).ends_with(&sent));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let mut random = fastrand::Rng::with_seed(3);
        for words in [0, 1, 7, 62, 63, MAX_WORDS] {
            let frame = response(&mut random, words).frame();
            assert_eq!(receive(&frame).len(), 1);
            // The first delimiter separates a frame from what came before, so there is some.
            for bit in 0..8 * frame.len() {
                let mut bytes = [&[0x55], &frame[..], &[0]].concat();
                bytes[1 + bit / 8] ^= 1 << (bit % 8);
                assert_eq!(receive(&bytes), [], "bit {bit} of {words} words");
            }
            for length in 0..frame.len() - 1 {
                let cut = [&frame[..length], &[0]].concat();
                assert_eq!(receive(&cut), [], "{length} bytes of {words} words");
                let tail = &frame[frame.len() - length..];
                assert_eq!(receive(tail), [], "last {length} bytes of {words} words");
            }
        }
    }

    #[test]
    fn random_bytes_are_no_response() {
        let mut random = fastrand::Rng::with_seed(4);
        let bytes: Vec<u8> = (0..300_000)
            .map(|_| {
                if random.u8(0..40) == 0 {
                    0
                } else {
                    random.u8(..)
                }
            })
            .collect();
        assert_eq!(receive(&bytes), []);
    }

    #[test]
    fn an_endless_frame_takes_no_memory() {
        let mut receiver = Receiver::default();
        assert!((0..100_000).all(|_| receiver.push(1).is_none()));
        assert!(receiver.coded.capacity() <= 1024);
        assert_eq!(receiver.push(0), Some(Err(Malformed::Long)));
    }
}
