//! `lp_decode`: from an instruction word to its unit, one line per SYS instruction, and whether
//! the word is legal (known opcode, reserved bits zero). Combinational.

use lampyris_isa::insn::{INSNS, InsnSpec, Opcode};
use rust_hdl::prelude::*;

/// Entries of the instruction table.
const ENTRIES: usize = INSNS.len();

/// The decoder; field names are port names.
#[derive(LogicBlock)]
pub struct Decode {
    /// The instruction.
    pub insn_i: Signal<In, Bits<256>>,
    /// The opcode is in the table and no reserved bit is set.
    pub legal_o: Signal<Out, Bit>,
    /// Executing unit: 0 LD, 1 ST, 2 MM, 3 SFU, 4 SYS.
    pub unit_o: Signal<Out, Bits<3>>,
    /// The opcode is that of `halt`.
    pub sys_halt_o: Signal<Out, Bit>,
    /// The opcode is that of `fence`.
    pub sys_fence_o: Signal<Out, Bit>,
    /// The opcode is that of `alu`.
    pub sys_alu_o: Signal<Out, Bit>,
    /// The opcode is that of `loop`.
    pub sys_loop_o: Signal<Out, Bit>,
    /// The opcode is that of `jump`.
    pub sys_jump_o: Signal<Out, Bit>,
    /// The opcode is that of `call`.
    pub sys_call_o: Signal<Out, Bit>,
    /// The opcode is that of `ret`.
    pub sys_ret_o: Signal<Out, Bit>,
    /// The opcode is that of `rdv`.
    pub sys_rdv_o: Signal<Out, Bit>,
    opcode: Signal<Local, Bits<8>>,
    known: Signal<Local, Bit>,
    reserved: Signal<Local, Bits<256>>,
    excess: Signal<Local, Bits<256>>,
    table_opcode: [Constant<Bits<8>>; ENTRIES],
    table_unit: [Constant<Bits<3>>; ENTRIES],
    table_reserved: [Constant<Bits<256>>; ENTRIES],
    op_halt: Constant<Bits<8>>,
    op_fence: Constant<Bits<8>>,
    op_alu: Constant<Bits<8>>,
    op_loop: Constant<Bits<8>>,
    op_jump: Constant<Bits<8>>,
    op_call: Constant<Bits<8>>,
    op_ret: Constant<Bits<8>>,
    op_rdv: Constant<Bits<8>>,
}

/// A 256-bit value from its limbs, least significant first.
pub(crate) fn wide(limbs: [u64; 4]) -> Bits<256> {
    limbs
        .iter()
        .rev()
        .fold(Bits::<256>::from(0u64), |acc, &limb| {
            (acc << 64u64) | bit_cast::<256, 64>(Bits::<64>::from(limb))
        })
}

/// The bits of an instruction that belong to no field.
fn reserved_bits(insn: &InsnSpec) -> [u64; 4] {
    let mut mask = [u64::MAX; 4];
    mask[0] &= !0xff;
    for field in insn.fields {
        for bit in field.lsb..field.lsb + field.width {
            mask[bit as usize / 64] &= !(1 << (bit % 64));
        }
    }
    mask
}

fn opcode(op: Opcode) -> Constant<Bits<8>> {
    Constant::new(Bits::from(op as u64))
}

impl Default for Decode {
    fn default() -> Self {
        Self {
            insn_i: Default::default(),
            legal_o: Default::default(),
            unit_o: Default::default(),
            sys_halt_o: Default::default(),
            sys_fence_o: Default::default(),
            sys_alu_o: Default::default(),
            sys_loop_o: Default::default(),
            sys_jump_o: Default::default(),
            sys_call_o: Default::default(),
            sys_ret_o: Default::default(),
            sys_rdv_o: Default::default(),
            opcode: Default::default(),
            known: Default::default(),
            reserved: Default::default(),
            excess: Default::default(),
            table_opcode: std::array::from_fn(|i| {
                Constant::new(Bits::from(u64::from(INSNS[i].opcode)))
            }),
            table_unit: std::array::from_fn(|i| Constant::new(Bits::from(INSNS[i].unit as u64))),
            table_reserved: std::array::from_fn(|i| Constant::new(wide(reserved_bits(&INSNS[i])))),
            op_halt: opcode(Opcode::Halt),
            op_fence: opcode(Opcode::Fence),
            op_alu: opcode(Opcode::Alu),
            op_loop: opcode(Opcode::Loop),
            op_jump: opcode(Opcode::Jump),
            op_call: opcode(Opcode::Call),
            op_ret: opcode(Opcode::Ret),
            op_rdv: opcode(Opcode::Rdv),
        }
    }
}

impl Logic for Decode {
    #[hdl_gen]
    fn update(&mut self) {
        self.opcode.next = self.insn_i.val().get_bits::<8>(0);
        self.known.next = false;
        self.unit_o.next = 0.into();
        self.reserved.next = 0.into();
        for i in 0..ENTRIES {
            if (self.opcode.val()) == (self.table_opcode[i].val()) {
                self.known.next = true;
                self.unit_o.next = self.table_unit[i].val();
                self.reserved.next = self.table_reserved[i].val();
            }
        }
        self.excess.next = (self.insn_i.val()) & (self.reserved.val());
        self.legal_o.next = (self.known.val()) & (!(self.excess.val().any()));
        self.sys_halt_o.next = (self.opcode.val()) == (self.op_halt.val());
        self.sys_fence_o.next = (self.opcode.val()) == (self.op_fence.val());
        self.sys_alu_o.next = (self.opcode.val()) == (self.op_alu.val());
        self.sys_loop_o.next = (self.opcode.val()) == (self.op_loop.val());
        self.sys_jump_o.next = (self.opcode.val()) == (self.op_jump.val());
        self.sys_call_o.next = (self.opcode.val()) == (self.op_call.val());
        self.sys_ret_o.next = (self.opcode.val()) == (self.op_ret.val());
        self.sys_rdv_o.next = (self.opcode.val()) == (self.op_rdv.val());
    }
}
