// Purpose: fetches the program, executes SYS instructions and dispatches the others to their units.
// Latency: a unit instruction takes 3 cycles plus one per register selector that is not 0.
// Throughput: one instruction at a time.
// Back-pressure: waits for instructions (cache), for a full unit queue and for units at a fence.
// Notes: the first error stops it until it is reset; a start before that is ignored.

`default_nettype none

module sequencer
  import lampyris_isa_pkg::*;
#(
    parameter int unsigned VmemWords = 131072
) (
    input  wire logic         clk_i,
    input  wire logic         rst_ni,
    input  wire logic         clr_i,
    // Host.
    input  wire logic         start_i,
    input  wire logic [23:0]  entry_i,
    input  wire logic [255:0] arg_i,
    output logic              running_o,
    output logic              halted_o,
    output logic [15:0]       halt_code_o,
    output logic [7:0]        error_o,
    output logic [23:0]       error_pc_o,
    output logic [255:0]      res_o,
    // Instruction cache.
    output logic              fetch_req_o,
    input  wire logic         fetch_ready_i,
    output logic [23:0]       fetch_pc_o,
    input  wire logic         fetch_valid_i,
    input  wire logic         fetch_err_i,
    input  wire logic [255:0] fetch_insn_i,
    // Units: queues, idle flags and errors.
    output logic [3:0]        disp_valid_o,
    input  wire logic [3:0]   disp_ready_i,
    output lampyris_pkg::desc_t disp_desc_o,
    input  wire logic [3:0]   idle_i,
    input  wire logic         unit_err_i,
    input  wire logic [7:0]   unit_err_code_i,
    // Vector memory word read.
    output logic              rdv_valid_o,
    output logic [17:0]       rdv_addr_o,
    input  wire logic         rdv_ready_i,
    input  wire logic [31:0]  rdv_data_i,
    // Trace of executed SYS instructions; we: it writes a register (0: in vain).
    output logic              sys_valid_o,
    output logic [31:0]       sys_seq_o,
    output logic [23:0]       sys_pc_o,
    output logic              sys_we_o,
    output logic [4:0]        sys_rd_o,
    output logic [39:0]       sys_value_o,
    // Counters.
    output logic              insn_o,
    output logic              stall_queue_o,
    output logic              stall_fence_o,
    output logic              stall_fetch_o
);
  typedef enum logic [3:0] {
    StIdle,
    StInit,
    StFetch,
    StWait,
    StDecode,
    StRegs,
    StPush,
    StOperand,
    StExec,
    StReadVmem,
    StVmemData,
    StSync,
    StResult
  } state_e;

  state_e       state_q, state_d;
  logic [23:0]  pc_q, pc_d;
  logic [31:0]  seq_q;
  logic [255:0] insn_q;
  logic [39:0]  opa_q, opb_q;
  logic [4:0]   count_q;
  logic [7:0]   err_code;
  logic         seq_err;

  // ---- Instruction fields ------------------------------------------------------------------
  // Views of one word: each uses its own fields only.
  /* verilator lint_off UNUSEDSIGNAL */
  alu_t   alu;
  loop_t  lp;
  jump_t  jump;
  rdv_t   rdv;
  halt_t  halt;
  fence_t fence;
  /* verilator lint_on UNUSEDSIGNAL */
  assign alu   = alu_t'(insn_q);
  assign lp    = loop_t'(insn_q);
  assign jump  = jump_t'(insn_q);
  assign rdv   = rdv_t'(insn_q);
  assign halt  = halt_t'(insn_q);
  assign fence = fence_t'(insn_q);

  logic       legal, is_sys;
  logic [2:0] unit;
  logic sys_halt, sys_fence, sys_alu, sys_loop, sys_jump, sys_call, sys_ret, sys_rdv;
  lp_decode u_decode (
      .insn_i     (insn_q),
      .legal_o    (legal),
      .unit_o     (unit),
      .sys_halt_o (sys_halt),
      .sys_fence_o(sys_fence),
      .sys_alu_o  (sys_alu),
      .sys_loop_o (sys_loop),
      .sys_jump_o (sys_jump),
      .sys_call_o (sys_call),
      .sys_ret_o  (sys_ret),
      .sys_rdv_o  (sys_rdv)
  );
  assign is_sys = unit[2];

  // ---- Register selectors of unit instructions ---------------------------------------------
  logic [4:0]       pending_q, pending, pick;
  logic [4:0]       pick_reg;
  logic [4:0][39:0] rval_q;
  logic             more;

  always_comb begin
    for (int i = 0; i < 5; i++) pending[i] = insn_q[16+5*i+:5] != 5'd0;
    if (state_q == StRegs) pending = pending_q;
    pick     = pending & (~pending + 5'd1);
    pick_reg = '0;
    for (int i = 0; i < 5; i++) if (pick[i]) pick_reg |= insn_q[16+5*i+:5];
  end
  assign more = (pending & ~pick) != '0;

  // ---- Register file -----------------------------------------------------------------------
  logic [39:0] regs[32];
  logic [39:0] reg_rdata, reg_wdata;
  logic [4:0]  reg_raddr, reg_waddr;
  logic        reg_we;

  always_comb begin
    reg_raddr = pick_reg;
    if (state_q == StResult) reg_raddr = count_q + 5'd1;
    else if (state_q == StOperand) reg_raddr = alu.rt;
    else if (is_sys) reg_raddr = (sys_alu || sys_rdv) ? alu.rs : lp.rs;
  end
  assign reg_rdata = reg_raddr == 5'd0 ? '0 : regs[reg_raddr];

  // ---- Arithmetic, stacks ------------------------------------------------------------------
  logic        alu_done;
  logic [39:0] alu_result, rdv_addr;
  logic [23:0] loop_count, target, next_pc;
  logic        loop_push, loop_full, loop_hit, loop_next, loop_last;
  logic        call_push, call_pop, call_full, call_empty, jump_taken;
  logic [23:0] loop_target, call_pc;

  seq_alu u_alu (
      .clk_i,
      .rst_ni,
      .req_i   (state_q == StExec && sys_alu),
      .func_i  (alu.func),
      .a_i     (opa_q),
      .b_i     (opb_q),
      .done_o  (alu_done),
      .result_o(alu_result)
  );

  seq_stacks u_stacks (
      .clk_i,
      .rst_ni,
      .clr_i        (clr_i || state_q == StInit),
      .loop_push_i  (loop_push),
      .loop_start_i (next_pc),
      .loop_end_i   (next_pc + {8'd0, lp.body}),
      .loop_count_i (loop_count),
      .loop_full_o  (loop_full),
      .pc_i         (pc_q),
      .loop_hit_o   (loop_hit),
      .loop_next_i  (loop_next),
      .loop_last_o  (loop_last),
      .loop_target_o(loop_target),
      .call_push_i  (call_push),
      .call_pc_i    (next_pc),
      .call_pop_i   (call_pop),
      .call_full_o  (call_full),
      .call_empty_o (call_empty),
      .call_pc_o    (call_pc)
  );

  assign next_pc    = pc_q + 24'd1;
  assign target     = pc_q + jump.offset;
  assign loop_count = opa_q[23:0] + lp.imm;
  assign rdv_addr   = opa_q + {22'd0, rdv.addr};
  assign jump_taken = jump.cond == 2'd0 || ((jump.cond == 2'd1) == (opa_q == '0));

  // ---- Control -----------------------------------------------------------------------------
  logic       retire, start;
  logic [3:0] sync_units;
  // After an error the units hold what they were doing: only a reset clears it.
  assign start      = state_q == StIdle && start_i && error_o == '0;
  assign sync_units = sys_halt ? 4'hf : fence.units;

  always_comb begin
    state_d   = state_q;
    pc_d      = pc_q;
    retire    = 1'b0;
    seq_err   = 1'b0;
    err_code  = ErrIllegal;
    loop_push = 1'b0;
    loop_next = 1'b0;
    call_push = 1'b0;
    call_pop  = 1'b0;
    disp_valid_o = '0;

    unique case (state_q)
      StIdle: if (start) state_d = StInit;
      StInit: if (count_q == 5'd31) state_d = StFetch;
      StFetch: begin
        // At the end of loop bodies first count the iteration, one loop a cycle.
        if (loop_hit) begin
          loop_next = 1'b1;
          if (!loop_last) pc_d = loop_target;
        end else if (fetch_ready_i) begin
          state_d = StWait;
        end
      end
      StWait: begin
        if (fetch_valid_i) state_d = StDecode;
        seq_err  = fetch_err_i;
        err_code = ErrMemory;
      end
      StDecode: begin
        if (!legal) seq_err = 1'b1;
        else if (is_sys) state_d = (sys_halt || sys_fence) ? StSync : StOperand;
        else if (more) state_d = StRegs;
        else state_d = StPush;
        // Nothing to read: dispatch at once.
        if (legal && !is_sys && pending == '0) begin
          disp_valid_o[unit[1:0]] = 1'b1;
          retire                  = disp_ready_i[unit[1:0]];
        end
      end
      StRegs: if (!more) state_d = StPush;
      StPush: begin
        disp_valid_o[unit[1:0]] = 1'b1;
        retire                  = disp_ready_i[unit[1:0]];
      end
      StOperand: state_d = sys_rdv ? StReadVmem : StExec;
      StExec: begin
        retire = !sys_alu || alu_done;
        if (sys_loop) begin
          seq_err   = lp.body == '0 || (loop_count != '0 && loop_full);
          err_code  = ErrStack;
          loop_push = loop_count != '0 && !seq_err;
        end else if (sys_jump) begin
          seq_err = jump.cond == 2'd3;
        end else if (sys_call) begin
          seq_err   = call_full;
          err_code  = ErrStack;
          call_push = !call_full;
        end else if (sys_ret) begin
          seq_err  = call_empty;
          err_code = ErrStack;
          call_pop = !call_empty;
        end
      end
      StReadVmem: begin
        seq_err  = rdv_addr >= 40'(VmemWords);
        err_code = ErrAddress;
        if (rdv_ready_i) state_d = StVmemData;
      end
      StVmemData: retire = 1'b1;
      StSync: begin
        retire = (sync_units & ~idle_i) == '0;
      end
      default: if (count_q == 5'd7) state_d = StIdle;
    endcase

    if (retire) begin
      state_d = (is_sys && sys_halt) ? StResult : StFetch;
      pc_d    = next_pc;
      if (is_sys) begin
        if (sys_loop && loop_count == '0) pc_d = next_pc + {8'd0, lp.body};
        if (sys_call || (sys_jump && jump_taken)) pc_d = target;
        if (sys_ret) pc_d = call_pc;
      end
    end
    if (seq_err || (unit_err_i && running_o)) begin
      state_d      = StIdle;
      pc_d         = pc_q;
      retire       = 1'b0;
      disp_valid_o = '0;
    end
  end

  // ---- Outputs -----------------------------------------------------------------------------
  assign fetch_req_o = state_q == StFetch && !loop_hit;
  assign fetch_pc_o  = pc_q;
  assign disp_desc_o = '{seq: seq_q, rval: rval_q, insn: insn_q};
  assign rdv_valid_o = state_q == StReadVmem && !seq_err;
  assign rdv_addr_o  = rdv_addr[17:0];

  assign reg_we    = sys_we_o;
  assign reg_waddr = state_q == StInit ? count_q : alu.rd;
  always_comb begin
    reg_wdata = sys_rdv ? {8'd0, rdv_data_i} : alu_result;
    if (state_q == StInit) begin
      reg_wdata = '0;
      if (count_q >= 5'd1 && count_q <= 5'd8) reg_wdata[31:0] = arg_i[32*5'(count_q-5'd1)+:32];
    end
  end

  assign sys_valid_o = retire && is_sys;
  assign sys_seq_o   = seq_q;
  assign sys_pc_o    = pc_q;
  assign sys_we_o    = retire && is_sys && (sys_alu || sys_rdv);
  assign sys_rd_o    = alu.rd;
  assign sys_value_o = reg_wdata;

  assign insn_o        = retire;
  assign stall_queue_o = disp_valid_o != '0 && !retire;
  assign stall_fence_o = state_q == StSync && !retire;
  assign stall_fetch_o = (state_q == StWait && !fetch_valid_i) || (state_q == StFetch && !fetch_ready_i);

  // ---- State -------------------------------------------------------------------------------
  always_ff @(posedge clk_i) begin
    if (reg_we || state_q == StInit) regs[reg_waddr] <= reg_wdata;
    if (fetch_valid_i && state_q == StWait) insn_q <= fetch_insn_i;
    if (state_q == StDecode) opa_q <= reg_rdata;
    if (state_q == StOperand) opb_q <= alu.use_imm ? alu.imm : reg_rdata;
    pending_q <= pending & ~pick;
    for (int i = 0; i < 5; i++) begin
      if (state_q == StWait) rval_q[i] <= '0;
      else if ((state_q == StDecode || state_q == StRegs) && pick[i]) rval_q[i] <= reg_rdata;
    end
    if (state_q == StResult) res_o[32*count_q[2:0]+:32] <= reg_rdata[31:0];
    count_q <= (state_q == StInit || state_q == StResult) ? count_q + 5'd1 : '0;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      state_q     <= StIdle;
      running_o   <= 1'b0;
      halted_o    <= 1'b0;
      halt_code_o <= '0;
      error_o     <= '0;
      error_pc_o  <= '0;
      pc_q        <= '0;
      seq_q       <= '0;
    end else begin
      state_q <= state_d;
      pc_q    <= pc_d;
      if (retire) seq_q <= seq_q + 32'd1;
      if (start) begin
        running_o <= 1'b1;
        halted_o  <= 1'b0;
        pc_q      <= entry_i;
        seq_q     <= '0;
        halt_code_o <= '0;
        error_pc_o  <= '0;
      end
      if (retire && is_sys && sys_halt) halt_code_o <= halt.code;
      if (state_q == StResult && state_d == StIdle) begin
        running_o <= 1'b0;
        halted_o  <= 1'b1;
      end
      if (running_o && (seq_err || unit_err_i)) begin
        running_o  <= 1'b0;
        error_o    <= unit_err_i ? unit_err_code_i : err_code;
        error_pc_o <= pc_q;
      end
    end
  end
endmodule

`default_nettype wire
