//! `lp_scoreboard`: one 8-bit semaphore for each ordered pair of different units.
//!
//! Bit 4c + p of `wait_i` makes unit c wait for unit p; the grant of unit c takes one from each
//! semaphore that it names, all at once. Bit 4p + c of `post_mask_i` makes the retirement of
//! unit p (`post_i`) give one to c, visible in the next cycle. A unit's bit for itself has no
//! effect.

use rust_hdl::prelude::*;

/// The scoreboard; field names are port names.
#[derive(LogicBlock, Default)]
pub struct Scoreboard {
    /// Clock.
    pub clk_i: Signal<In, Clock>,
    /// Synchronous reset, active low.
    pub rst_ni: Signal<In, Bit>,
    /// Sets all semaphores to zero.
    pub clr_i: Signal<In, Bit>,
    /// Units that want to start the instruction at the head of their queue.
    pub want_i: Signal<In, Bits<4>>,
    /// Wait masks of these instructions.
    pub wait_i: Signal<In, Bits<16>>,
    /// Units that start now.
    pub grant_o: Signal<Out, Bits<4>>,
    /// Units that retire an instruction now.
    pub post_i: Signal<In, Bits<4>>,
    /// Post masks of these instructions.
    pub post_mask_i: Signal<In, Bits<16>>,
    // Indexed 4 p + c. The four of a unit with itself stay zero and disappear in synthesis.
    count: [DFF<Bits<8>>; 16],
    up: [Signal<Local, Bits<8>>; 16],
    down: [Signal<Local, Bits<8>>; 16],
    give: [Signal<Local, Bit>; 16],
    take: [Signal<Local, Bit>; 16],
    missing: [Signal<Local, Bit>; 16],
    start: [Signal<Local, Bit>; 4],
    start_bits: [Signal<Local, Bits<4>>; 4],
}

impl Logic for Scoreboard {
    #[hdl_gen]
    fn update(&mut self) {
        for i in 0..16 {
            self.count[i].clock.next = self.clk_i.val();
            self.count[i].d.next = self.count[i].q.val();
            self.up[i].next = (self.count[i].q.val()) + 1;
            self.down[i].next = (self.count[i].q.val()) - 1;
            self.give[i].next = false;
            self.missing[i].next = false;
            self.take[i].next = false;
        }
        for p in 0..4 {
            for c in 0..4 {
                if p != c {
                    self.missing[4 * p + c].next = (self.wait_i.val().get_bit(4 * c + p))
                        & ((self.count[4 * p + c].q.val()) == 0);
                    self.give[4 * p + c].next = (self.post_i.val().get_bit(p))
                        & (self.post_mask_i.val().get_bit(4 * p + c));
                }
            }
        }
        for c in 0..4 {
            self.start[c].next = (self.want_i.val().get_bit(c))
                & (!((self.missing[c].val())
                    | (self.missing[4 + c].val())
                    | (self.missing[8 + c].val())
                    | (self.missing[12 + c].val())));
            self.start_bits[c].next = 0.into();
        }
        if self.start[0].val() {
            self.start_bits[0].next = 1.into();
        }
        if self.start[1].val() {
            self.start_bits[1].next = 2.into();
        }
        if self.start[2].val() {
            self.start_bits[2].next = 4.into();
        }
        if self.start[3].val() {
            self.start_bits[3].next = 8.into();
        }
        self.grant_o.next = (self.start_bits[0].val())
            | (self.start_bits[1].val())
            | (self.start_bits[2].val())
            | (self.start_bits[3].val());
        for p in 0..4 {
            for c in 0..4 {
                if p != c {
                    self.take[4 * p + c].next =
                        (self.start[c].val()) & (self.wait_i.val().get_bit(4 * c + p));
                }
            }
        }
        for i in 0..16 {
            if (self.give[i].val()) & (!(self.take[i].val())) {
                self.count[i].d.next = self.up[i].val();
            }
            if (self.take[i].val()) & (!(self.give[i].val())) {
                self.count[i].d.next = self.down[i].val();
            }
            if (!(self.rst_ni.val())) | (self.clr_i.val()) {
                self.count[i].d.next = 0.into();
            }
        }
    }
}
