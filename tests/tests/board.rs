//! The top level that a bitstream is made of, with pins, memory chip and serial port, driven by
//! the program that would drive the board.

use lampyris_boards::Board;
use lampyris_boards::hardware::{Link as Port, Uart};
use lampyris_isa::csr;
use lampyris_sim::board::{BoardDevice, SimPort};
use lampyris_sim::golden::record;
use lampyris_sim::session::{Session, Want};
use lampyris_sim::smoke::{Step, run};
use lampyris_sim::{Device, Limits};
use lampyris_tests::compile_without_text;
use lampyris_tests::small::opt;

/// Positions of the KV cache.
const CONTEXT: usize = 16;

/// The ULX3S with the fastest serial line that its clock allows: only the time of tests depends
/// on it.
fn board() -> Board {
    let mut board = Board::open("ulx3s-85f").expect("a shipped board");
    let hardware = board.hardware.as_mut().expect("it can be built");
    hardware.link = Port::Uart(Uart {
        baud: board.config.clock_khz * 1000 / 8,
    });
    board
}

#[test]
fn a_board_passes_the_smoke_test_and_makes_the_models_tokens() {
    let board = board();
    let compiled = compile_without_text(&opt(), board.config, CONTEXT);
    let bundle = &compiled.bundle;
    let golden = record(bundle).expect("the model computes");
    let port = SimPort::new(&board, 1).expect("the board powers up");
    let mut device = BoardDevice::open(port, board.config).expect("the link answers");
    let memory = board.hardware.as_ref().expect("checked").memory_bytes();

    let mut steps = Vec::new();
    let fault = run(bundle, &golden, &mut device, memory, &mut |step| {
        steps.push(step)
    });
    assert_eq!(fault.expect("the board answers"), None);
    assert_eq!(steps, Step::ALL);

    // The image is there, and the cache holds one position.
    let tokens = [1, 2, 3];
    let on_board = {
        let mut session = Session::new(bundle, &mut device, Limits::default()).expect("starts");
        feed(&mut session, &tokens)
    };
    let mut model = lampyris_sim::Model::new(
        bundle.config,
        lampyris_sim::session::memory(bundle).expect("memory"),
    )
    .expect("a model");
    let mut session = Session::new(bundle, &mut model, Limits::default()).expect("starts");
    assert_eq!(on_board, feed(&mut session, &tokens));

    // A reset in the middle of a token: the memory keeps its contents, and the next run is right.
    let start = lampyris_sim::Start {
        prog_base: 0,
        entry: bundle.manifest.entries["decode"],
        args: [1, 0, 1, 1, 0, 0, 0, 0],
    };
    device.start(&start).expect("starts");
    assert_eq!(
        device.read_register(csr::STATUS).expect("answers") & 1,
        1,
        "it runs"
    );
    device.reset().expect("resets");
    assert_eq!(device.read_register(csr::STATUS).expect("answers"), 0);
    let counters = device.link().device_counters().expect("answers");
    assert_eq!((counters.bad_frames, counters.lost_bytes), (0, 0));
    let mut session = Session::new(bundle, &mut device, Limits::default()).expect("starts");
    assert_eq!(on_board, feed(&mut session, &tokens));
}

/// Tokens after each of the prompt's.
fn feed(session: &mut Session<'_>, tokens: &[u32]) -> Vec<Option<u32>> {
    let mut next = Vec::new();
    for token in tokens {
        let calls = session.feed(&[*token], Want::Token).expect("runs");
        next.extend(calls.iter().map(|call| call.next));
    }
    next
}
