//! Bytes that no driver would send.

use crate::board::{Board, IDLE_LOG2, SMALL};
use crate::bytes;
use crate::slaves::BASE;
use lampyris_isa::link::{Command, MAX_FRAME, Status};
use lampyris_link::{Receiver, Request, Response};
use lampyris_tests::bench::Random;

/// Sends bytes and gives the responses that come within `clocks`.
fn send(board: &mut Board, bytes: &[u8], clocks: u64) -> Vec<Response> {
    board.wire.send(bytes);
    board.drain(clocks);
    let mut receiver = Receiver::default();
    let arrived: Vec<u8> = board.wire.from_device.drain(..).collect();
    let frames = arrived.iter().filter_map(|byte| receiver.push(*byte));
    frames.map(|frame| frame.expect("a whole frame")).collect()
}

fn request(command: Command, words: u8, address: u64, payload: Vec<u8>) -> Request {
    Request {
        command,
        words,
        address,
        payload,
    }
}

/// A request that the device answers with its words of INFO.
fn info() -> Request {
    request(Command::Info, 0, 0, Vec::new())
}

#[test]
fn wrong_requests_get_their_status() {
    let mut board = Board::new(SMALL, 50);
    let page_end = BASE + 4096 - 8;
    use Command::{Info, ReadCsr, ReadMem, WriteCsr, WriteMem};
    let cases = [
        (request(ReadMem, 3, page_end, vec![]), Status::BadAddress),
        (request(ReadMem, 2, page_end, vec![]), Status::Ok),
        (
            request(WriteMem, 3, page_end, vec![0; 12]),
            Status::BadAddress,
        ),
        (request(ReadMem, 1, BASE + 2, vec![]), Status::BadAddress),
        (request(ReadMem, 0, BASE, vec![]), Status::BadLength),
        (request(ReadMem, 65, BASE, vec![]), Status::BadLength),
        (request(ReadMem, 128, BASE, vec![]), Status::BadLength),
        (request(ReadMem, 1, BASE, vec![0; 4]), Status::BadLength),
        (request(WriteMem, 2, BASE, vec![0; 4]), Status::BadLength),
        (request(WriteMem, 1, BASE, vec![]), Status::BadLength),
        (request(ReadCsr, 2, 0, vec![]), Status::BadLength),
        (request(ReadCsr, 1, 0x1000, vec![]), Status::BadAddress),
        (
            request(WriteCsr, 1, 0x1_0000_0000, vec![0; 4]),
            Status::BadAddress,
        ),
        (request(WriteCsr, 1, 1, vec![0; 4]), Status::BadAddress),
        (request(Info, 1, 0, vec![]), Status::BadLength),
    ];
    for (sequence, (request, status)) in cases.into_iter().enumerate() {
        let answers = send(&mut board, &request.frame(sequence as u8), 5000);
        let [answer] = &answers[..] else {
            panic!("{request:?}: {answers:?}");
        };
        assert_eq!(usize::from(answer.sequence), sequence);
        assert_eq!(answer.status, status as u8, "{request:?}");
        assert!(answer.payload.is_empty() || status == Status::Ok);
    }
    assert_eq!(board.memory.bursts, 1);
    assert_eq!(board.registers.written, []);
}

#[test]
fn unknown_commands_are_named() {
    let mut board = Board::new(SMALL, 51);
    // A response is a frame with another header: with four more bytes it has the form of a request.
    for command in [0u8, 4, 0x12, 0x22, 0x7f] {
        let frame = Response {
            sequence: 7,
            command,
            status: 0,
            payload: vec![0; 4],
        };
        let answers = send(&mut board, &frame.frame(), 2000);
        let [answer] = &answers[..] else {
            panic!("{command}: {answers:?}");
        };
        assert_eq!(answer.status, Status::BadCommand as u8);
    }
}

#[test]
fn damaged_frames_do_nothing_and_the_next_one_is_heard() {
    let mut board = Board::new(SMALL, 52);
    let mut random = Random::new(52);
    let good = request(Command::WriteMem, 5, BASE, bytes(&mut random, 20)).frame(1);
    let before = board.memory.bytes.clone();
    for _ in 0..60 {
        let mut frame = good.clone();
        let at = 1 + random.below(frame.len() as u64 - 2) as usize;
        if random.chance(50) {
            frame[at] ^= 1 << random.below(8);
        } else {
            frame.truncate(at);
        }
        // The first request after the damage has its answer.
        frame.extend(info().frame(2));
        let answers = send(&mut board, &frame, 2000);
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].sequence, answers[0].payload.len()), (2, 24));
    }
    assert_eq!(board.memory.bursts, 0);
    assert!(board.memory.bytes == before);
}

#[test]
fn an_open_frame_is_dropped_in_time() {
    let mut board = Board::new(SMALL, 53);
    let frame = info().frame(3);
    // Without a delimiter in front, what was begun would spoil it.
    assert_eq!(send(&mut board, &[0, 5, 6], 1 << IDLE_LOG2).len(), 0);
    board.run(100);
    assert_eq!(send(&mut board, &frame[1..], 2000).len(), 1);
    // A line that is held low gives one byte without a stop bit.
    board.wire.low = 5000;
    board.drain(1000);
    assert_eq!(send(&mut board, &frame, 2000).len(), 1);
}

#[test]
fn noise_alone_moves_nothing() {
    let mut board = Board::new(SMALL, 54);
    let mut random = Random::new(54);
    for percent in [0, 3, 30] {
        let noise: Vec<u8> = (0..8 * MAX_FRAME)
            .map(|_| {
                if random.chance(percent) {
                    0
                } else {
                    random.bits() as u8
                }
            })
            .collect();
        assert_eq!(send(&mut board, &noise, 0), []);
        assert_eq!(send(&mut board, &info().frame(4), 2000).len(), 1);
    }
    assert_eq!(board.memory.bursts, 0);
    assert_eq!(board.registers.written, []);
}

#[test]
fn a_line_that_waits_loses_nothing() {
    let mut board = Board::fast(512, 56);
    let mut random = Random::new(56);
    let mut expected = Vec::new();
    let mut flood = Vec::new();
    for sequence in 0..100 {
        let (words, at) = (1 + random.below(64), 256 * random.below(64));
        flood.extend(request(Command::ReadMem, words as u8, BASE + at, Vec::new()).frame(sequence));
        expected.push(board.memory.bytes[at as usize..][..4 * words as usize].to_vec());
    }
    let answers = send(&mut board, &flood, 50_000);
    let read: Vec<_> = answers.into_iter().map(|answer| answer.payload).collect();
    assert!(read == expected);
}

#[test]
fn a_flood_of_requests_loses_some_and_hangs_nothing() {
    let mut board = Board::new(SMALL, 55);
    // Reads of 256 bytes are asked for much faster than they can be answered.
    let flood: Vec<u8> = (0..20u8)
        .flat_map(|i| request(Command::ReadMem, 64, BASE, Vec::new()).frame(i))
        .collect();
    let answers = send(&mut board, &flood, 300_000);
    let expected = &board.memory.bytes[..256];
    assert!(
        (6..20).contains(&answers.len()),
        "{} answers",
        answers.len()
    );
    assert!(answers.iter().all(|answer| answer.payload == expected));
    assert_eq!(send(&mut board, &info().frame(99), 2000).len(), 1);
}
