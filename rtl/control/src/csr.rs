//! `lp_csr`: the host registers as an AXI4-Lite slave with 32-bit data.
//!
//! One write and one read at a time. Address and data of a write may come in any order; responses
//! wait for the host. Writes to read-only or unknown registers are answered and have no effect,
//! unknown registers read as zero. Byte strobes are honoured.

use lampyris_isa::{ISA_VERSION, csr};
use rust_hdl::prelude::*;

/// Performance counters.
const COUNTERS: usize = csr::COUNTERS.len();

/// Number of argument and of result registers.
const ARGS: usize = 8;

/// The register block; field names are port names.
#[derive(LogicBlock)]
pub struct CsrBlock {
    /// Clock.
    pub clk_i: Signal<In, Clock>,
    /// Synchronous reset, active low.
    pub rst_ni: Signal<In, Bit>,
    /// Write address.
    pub awvalid_i: Signal<In, Bit>,
    /// Write address taken.
    pub awready_o: Signal<Out, Bit>,
    /// Byte offset to write.
    pub awaddr_i: Signal<In, Bits<12>>,
    /// Write data.
    pub wvalid_i: Signal<In, Bit>,
    /// Write data taken.
    pub wready_o: Signal<Out, Bit>,
    /// Value to write.
    pub wdata_i: Signal<In, Bits<32>>,
    /// Bytes to write.
    pub wstrb_i: Signal<In, Bits<4>>,
    /// Write response (always OKAY).
    pub bvalid_o: Signal<Out, Bit>,
    /// Write response taken.
    pub bready_i: Signal<In, Bit>,
    /// Read address.
    pub arvalid_i: Signal<In, Bit>,
    /// Read address taken.
    pub arready_o: Signal<Out, Bit>,
    /// Byte offset to read.
    pub araddr_i: Signal<In, Bits<12>>,
    /// Read data (response always OKAY).
    pub rvalid_o: Signal<Out, Bit>,
    /// Read data taken.
    pub rready_i: Signal<In, Bit>,
    /// Value read.
    pub rdata_o: Signal<Out, Bits<32>>,
    /// Hash of the elaborated parameters.
    pub config_hash_i: Signal<In, Bits<32>>,
    /// A program runs.
    pub running_i: Signal<In, Bit>,
    /// The program has halted.
    pub halted_i: Signal<In, Bit>,
    /// Error code, 0 if none.
    pub error_i: Signal<In, Bits<8>>,
    /// Code of the halt instruction.
    pub halt_code_i: Signal<In, Bits<16>>,
    /// Instruction index at the error.
    pub error_pc_i: Signal<In, Bits<24>>,
    /// r1..r8 at halt, 32 bits each.
    pub res_i: Signal<In, Bits<256>>,
    /// Counters that advance in this cycle.
    pub count_i: Signal<In, Bits<COUNTERS>>,
    /// Start, one cycle.
    pub start_o: Signal<Out, Bit>,
    /// Reset of everything but these registers, one cycle.
    pub soft_reset_o: Signal<Out, Bit>,
    /// Byte address of the program, low half.
    pub base_low_o: Signal<Out, Bits<32>>,
    /// Byte address of the program, high half.
    pub base_high_o: Signal<Out, Bits<32>>,
    /// Index of the first instruction.
    pub entry_o: Signal<Out, Bits<32>>,
    /// Arguments.
    pub arg_o: [Signal<Out, Bits<32>>; ARGS],

    // Write channel: address and data are held until both are there.
    have_addr: DFF<Bit>,
    have_data: DFF<Bit>,
    waddr: DFF<Bits<12>>,
    wdata: DFF<Bits<32>>,
    wstrb: DFF<Bits<4>>,
    bvalid: DFF<Bit>,
    rvalid: DFF<Bit>,
    rdata: DFF<Bits<32>>,
    start: DFF<Bit>,
    soft_reset: DFF<Bit>,
    base_low: DFF<Bits<32>>,
    base_high: DFF<Bits<32>>,
    entry: DFF<Bits<32>>,
    arg: [DFF<Bits<32>>; ARGS],
    count: [DFF<Bits<64>>; COUNTERS],

    write: Signal<Local, Bit>,
    strobe: [Signal<Local, Bits<32>>; 4],
    mask: Signal<Local, Bits<32>>,
    new_bits: Signal<Local, Bits<32>>,
    status_error: Signal<Local, Bits<32>>,
    status_halted: Signal<Local, Bits<32>>,
    status_running: Signal<Local, Bits<32>>,
    read: Signal<Local, Bits<32>>,
    sum: [Signal<Local, Bits<64>>; COUNTERS],

    at_id: Constant<Bits<12>>,
    at_isa_version: Constant<Bits<12>>,
    at_config_hash: Constant<Bits<12>>,
    at_ctrl: Constant<Bits<12>>,
    at_status: Constant<Bits<12>>,
    at_halt_code: Constant<Bits<12>>,
    at_error_pc: Constant<Bits<12>>,
    at_base_low: Constant<Bits<12>>,
    at_base_high: Constant<Bits<12>>,
    at_entry: Constant<Bits<12>>,
    at_arg: [Constant<Bits<12>>; ARGS],
    at_res: [Constant<Bits<12>>; ARGS],
    at_count_low: [Constant<Bits<12>>; COUNTERS],
    at_count_high: [Constant<Bits<12>>; COUNTERS],
    id_value: Constant<Bits<32>>,
    isa_version: Constant<Bits<32>>,
    byte_mask: [Constant<Bits<32>>; 4],
}

fn at(offset: u32) -> Constant<Bits<12>> {
    Constant::new(Bits::from(u64::from(offset)))
}

fn run<const N: usize>(first: u32, step: u32) -> [Constant<Bits<12>>; N] {
    std::array::from_fn(|i| at(first + step * i as u32))
}

fn word(value: u32) -> Constant<Bits<32>> {
    Constant::new(Bits::from(u64::from(value)))
}

impl Default for CsrBlock {
    fn default() -> Self {
        Self {
            clk_i: Default::default(),
            rst_ni: Default::default(),
            awvalid_i: Default::default(),
            awready_o: Default::default(),
            awaddr_i: Default::default(),
            wvalid_i: Default::default(),
            wready_o: Default::default(),
            wdata_i: Default::default(),
            wstrb_i: Default::default(),
            bvalid_o: Default::default(),
            bready_i: Default::default(),
            arvalid_i: Default::default(),
            arready_o: Default::default(),
            araddr_i: Default::default(),
            rvalid_o: Default::default(),
            rready_i: Default::default(),
            rdata_o: Default::default(),
            config_hash_i: Default::default(),
            running_i: Default::default(),
            halted_i: Default::default(),
            error_i: Default::default(),
            halt_code_i: Default::default(),
            error_pc_i: Default::default(),
            res_i: Default::default(),
            count_i: Default::default(),
            start_o: Default::default(),
            soft_reset_o: Default::default(),
            base_low_o: Default::default(),
            base_high_o: Default::default(),
            entry_o: Default::default(),
            arg_o: Default::default(),
            have_addr: Default::default(),
            have_data: Default::default(),
            waddr: Default::default(),
            wdata: Default::default(),
            wstrb: Default::default(),
            bvalid: Default::default(),
            rvalid: Default::default(),
            rdata: Default::default(),
            start: Default::default(),
            soft_reset: Default::default(),
            base_low: Default::default(),
            base_high: Default::default(),
            entry: Default::default(),
            arg: Default::default(),
            count: Default::default(),
            write: Default::default(),
            strobe: Default::default(),
            mask: Default::default(),
            new_bits: Default::default(),
            status_error: Default::default(),
            status_halted: Default::default(),
            status_running: Default::default(),
            read: Default::default(),
            sum: Default::default(),
            at_id: at(csr::ID),
            at_isa_version: at(csr::ISA_VERSION),
            at_config_hash: at(csr::CONFIG_HASH),
            at_ctrl: at(csr::CTRL),
            at_status: at(csr::STATUS),
            at_halt_code: at(csr::HALT_CODE),
            at_error_pc: at(csr::ERROR_PC),
            at_base_low: at(csr::PROG_BASE),
            at_base_high: at(csr::PROG_BASE + 4),
            at_entry: at(csr::ENTRY),
            at_arg: run(csr::ARG, 4),
            at_res: run(csr::RES, 4),
            at_count_low: run(csr::COUNTER, 8),
            at_count_high: run(csr::COUNTER + 4, 8),
            id_value: word(csr::ID_VALUE),
            isa_version: word(ISA_VERSION),
            byte_mask: std::array::from_fn(|i| word(0xff << (8 * i))),
        }
    }
}

impl Logic for CsrBlock {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clk_i, have_addr, have_data, waddr, wdata, wstrb, bvalid, rvalid, rdata, start,
            soft_reset, base_low, base_high, entry
        );
        for i in 0..ARGS {
            self.arg[i].clock.next = self.clk_i.val();
            self.arg[i].d.next = self.arg[i].q.val();
            self.arg_o[i].next = self.arg[i].q.val();
        }
        self.base_low_o.next = self.base_low.q.val();
        self.base_high_o.next = self.base_high.q.val();
        self.entry_o.next = self.entry.q.val();
        self.start_o.next = self.start.q.val();
        self.soft_reset_o.next = self.soft_reset.q.val();

        // Write channel.
        self.awready_o.next = !(self.have_addr.q.val());
        self.wready_o.next = !(self.have_data.q.val());
        self.bvalid_o.next = self.bvalid.q.val();
        if (self.awvalid_i.val()) & (!(self.have_addr.q.val())) {
            self.have_addr.d.next = true;
            self.waddr.d.next = self.awaddr_i.val();
        }
        if (self.wvalid_i.val()) & (!(self.have_data.q.val())) {
            self.have_data.d.next = true;
            self.wdata.d.next = self.wdata_i.val();
            self.wstrb.d.next = self.wstrb_i.val();
        }
        self.write.next =
            (self.have_addr.q.val()) & (self.have_data.q.val()) & (!(self.bvalid.q.val()));
        if (self.bvalid.q.val()) & (self.bready_i.val()) {
            self.bvalid.d.next = false;
        }
        for i in 0..4 {
            self.strobe[i].next = 0.into();
            if self.wstrb.q.val().get_bit(i) {
                self.strobe[i].next = self.byte_mask[i].val();
            }
        }
        self.mask.next = (self.strobe[0].val())
            | (self.strobe[1].val())
            | (self.strobe[2].val())
            | (self.strobe[3].val());
        self.new_bits.next = (self.wdata.q.val()) & (self.mask.val());

        // Registers.
        self.start.d.next = false;
        self.soft_reset.d.next = false;
        if self.write.val() {
            self.have_addr.d.next = false;
            self.have_data.d.next = false;
            self.bvalid.d.next = true;
            if (self.waddr.q.val()) == (self.at_ctrl.val()) {
                // A start is ignored while a program runs and after an error.
                self.start.d.next = (self.new_bits.val().get_bit(0))
                    & (!(self.running_i.val()))
                    & (!(self.error_i.val().any()));
                self.soft_reset.d.next = self.new_bits.val().get_bit(1);
            }
            if (self.waddr.q.val()) == (self.at_base_low.val()) {
                self.base_low.d.next =
                    ((self.base_low.q.val()) & (!(self.mask.val()))) | (self.new_bits.val());
            }
            if (self.waddr.q.val()) == (self.at_base_high.val()) {
                self.base_high.d.next =
                    ((self.base_high.q.val()) & (!(self.mask.val()))) | (self.new_bits.val());
            }
            if (self.waddr.q.val()) == (self.at_entry.val()) {
                self.entry.d.next =
                    ((self.entry.q.val()) & (!(self.mask.val()))) | (self.new_bits.val());
            }
            for i in 0..ARGS {
                if (self.waddr.q.val()) == (self.at_arg[i].val()) {
                    self.arg[i].d.next =
                        ((self.arg[i].q.val()) & (!(self.mask.val()))) | (self.new_bits.val());
                }
            }
        }

        // Counters.
        for i in 0..COUNTERS {
            self.count[i].clock.next = self.clk_i.val();
            self.sum[i].next = (self.count[i].q.val()) + 1;
            self.count[i].d.next = self.count[i].q.val();
            if (self.running_i.val()) & (self.count_i.val().get_bit(i)) {
                self.count[i].d.next = self.sum[i].val();
            }
            if (!(self.rst_ni.val())) | (self.start.q.val()) {
                self.count[i].d.next = 0.into();
            }
        }

        // Read channel.
        self.status_running.next = 0.into();
        self.status_halted.next = 0.into();
        if self.running_i.val() {
            self.status_running.next = 1.into();
        }
        if self.halted_i.val() {
            self.status_halted.next = 2.into();
        }
        self.status_error.next = (bit_cast::<32, 8>(self.error_i.val())) << 8;
        self.read.next = 0.into();
        if (self.araddr_i.val()) == (self.at_id.val()) {
            self.read.next = self.id_value.val();
        }
        if (self.araddr_i.val()) == (self.at_isa_version.val()) {
            self.read.next = self.isa_version.val();
        }
        if (self.araddr_i.val()) == (self.at_config_hash.val()) {
            self.read.next = self.config_hash_i.val();
        }
        if (self.araddr_i.val()) == (self.at_status.val()) {
            self.read.next = (self.status_error.val())
                | (self.status_halted.val())
                | (self.status_running.val());
        }
        if (self.araddr_i.val()) == (self.at_halt_code.val()) {
            self.read.next = bit_cast::<32, 16>(self.halt_code_i.val());
        }
        if (self.araddr_i.val()) == (self.at_error_pc.val()) {
            self.read.next = bit_cast::<32, 24>(self.error_pc_i.val());
        }
        if (self.araddr_i.val()) == (self.at_base_low.val()) {
            self.read.next = self.base_low.q.val();
        }
        if (self.araddr_i.val()) == (self.at_base_high.val()) {
            self.read.next = self.base_high.q.val();
        }
        if (self.araddr_i.val()) == (self.at_entry.val()) {
            self.read.next = self.entry.q.val();
        }
        for i in 0..ARGS {
            if (self.araddr_i.val()) == (self.at_arg[i].val()) {
                self.read.next = self.arg[i].q.val();
            }
            if (self.araddr_i.val()) == (self.at_res[i].val()) {
                self.read.next = self.res_i.val().get_bits::<32>(32 * i);
            }
        }
        for i in 0..COUNTERS {
            if (self.araddr_i.val()) == (self.at_count_low[i].val()) {
                self.read.next = self.count[i].q.val().get_bits::<32>(0);
            }
            if (self.araddr_i.val()) == (self.at_count_high[i].val()) {
                self.read.next = self.count[i].q.val().get_bits::<32>(32);
            }
        }
        self.arready_o.next = !(self.rvalid.q.val());
        self.rvalid_o.next = self.rvalid.q.val();
        self.rdata_o.next = self.rdata.q.val();
        if (self.arvalid_i.val()) & (!(self.rvalid.q.val())) {
            self.rvalid.d.next = true;
            self.rdata.d.next = self.read.val();
        }
        if (self.rvalid.q.val()) & (self.rready_i.val()) {
            self.rvalid.d.next = false;
        }

        // Reset.
        if !(self.rst_ni.val()) {
            self.have_addr.d.next = false;
            self.have_data.d.next = false;
            self.bvalid.d.next = false;
            self.rvalid.d.next = false;
            self.start.d.next = false;
            self.soft_reset.d.next = false;
            self.base_low.d.next = 0.into();
            self.base_high.d.next = 0.into();
            self.entry.d.next = 0.into();
            for i in 0..ARGS {
                self.arg[i].d.next = 0.into();
            }
        }
    }
}
