// Purpose: host registers, sequencer, instruction cache and issue: all that is not data.
// Latency, throughput: see the modules.
// Back-pressure: ready/valid towards host, memory and units.
// Notes: unit_count_i are the counters that are taken outside; the others are added here.

`default_nettype none

module front_end
  import lampyris_isa_pkg::*;
  import lampyris_pkg::desc_t;
#(
    parameter int unsigned AxiBits     = 256,
    parameter int unsigned VmemWords   = 131072,
    parameter int unsigned IcacheLines = 256,
    parameter int unsigned QueueDepth  = 8,
    parameter int unsigned ConfigHash  = 0
) (
    input  wire logic               clk_i,
    input  wire logic               rst_ni,
    // Soft reset of everything but the host registers.
    output logic                    clr_o,
    // Host registers.
    input  wire logic               awvalid_i,
    output logic                    awready_o,
    input  wire logic [11:0]        awaddr_i,
    input  wire logic               wvalid_i,
    output logic                    wready_o,
    input  wire logic [31:0]        wdata_i,
    input  wire logic [3:0]         wstrb_i,
    output logic                    bvalid_o,
    input  wire logic               bready_i,
    input  wire logic               arvalid_i,
    output logic                    arready_o,
    input  wire logic [11:0]        araddr_i,
    output logic                    rvalid_o,
    input  wire logic               rready_i,
    output logic [31:0]             rdata_o,
    input  wire logic [NumCounters-1:0] unit_count_i,
    // Instruction cache: AXI read channel.
    output logic                    ic_arvalid_o,
    input  wire logic               ic_arready_i,
    output logic [39:0]             ic_araddr_o,
    output logic [7:0]              ic_arlen_o,
    input  wire logic               ic_rvalid_i,
    output logic                    ic_rready_o,
    input  wire logic [AxiBits-1:0] ic_rdata_i,
    input  wire logic [1:0]         ic_rresp_i,
    input  wire logic               ic_rlast_i,
    // Units.
    output logic [3:0]              desc_valid_o,
    input  wire logic [3:0]         desc_ready_i,
    output desc_t [3:0]             desc_o,
    input  wire logic [3:0]         done_i,
    input  wire logic [3:0]         err_valid_i,
    input  wire logic [3:0][7:0]    err_code_i,
    // Word read of vector memory.
    output logic                    rdv_valid_o,
    output logic [17:0]             rdv_addr_o,
    input  wire logic               rdv_ready_i,
    input  wire logic [31:0]        rdv_data_i,
    // Trace of SYS instructions.
    output logic                    sys_valid_o,
    output logic [31:0]             sys_seq_o,
    output logic [23:0]             sys_pc_o,
    output logic                    sys_we_o,
    output logic [4:0]              sys_rd_o,
    output logic [39:0]             sys_value_o
);
  // ---- Host registers ----------------------------------------------------------------------
  logic                   start, running, halted;
  logic [31:0]            base_low;
  // Addresses have 40 bits and instruction indices 24.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [31:0]            base_high, entry;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [7:0][31:0]       arg;
  logic [255:0]           res;
  logic [7:0]             error;
  logic [15:0]            halt_code;
  logic [23:0]            error_pc;
  logic [NumCounters-1:0] count;

  lp_csr u_csr (
      .clk_i,
      .rst_ni,
      .awvalid_i,
      .awready_o,
      .awaddr_i,
      .wvalid_i,
      .wready_o,
      .wdata_i,
      .wstrb_i,
      .bvalid_o,
      .bready_i,
      .arvalid_i,
      .arready_o,
      .araddr_i,
      .rvalid_o,
      .rready_i,
      .rdata_o,
      .config_hash_i(ConfigHash),
      .running_i    (running),
      .halted_i     (halted),
      .error_i      (error),
      .halt_code_i  (halt_code),
      .error_pc_i   (error_pc),
      .res_i        (res),
      .count_i      (count),
      .start_o      (start),
      .soft_reset_o (clr_o),
      .base_low_o   (base_low),
      .base_high_o  (base_high),
      .entry_o      (entry),
      .arg_o_0      (arg[0]),
      .arg_o_1      (arg[1]),
      .arg_o_2      (arg[2]),
      .arg_o_3      (arg[3]),
      .arg_o_4      (arg[4]),
      .arg_o_5      (arg[5]),
      .arg_o_6      (arg[6]),
      .arg_o_7      (arg[7])
  );

  // ---- Sequencer and issue -----------------------------------------------------------------
  logic         fetch_req, fetch_ready, fetch_valid, fetch_err, fetch_beat;
  logic [23:0]  fetch_pc;
  logic [255:0] fetch_insn;
  logic [3:0]   disp_valid, disp_ready, idle, waiting;
  desc_t        disp_desc;
  logic [7:0]   first_code;
  logic         insn_retired, stall_queue, stall_fence, stall_fetch;

  always_comb begin
    first_code = err_code_i[3];
    for (int u = 2; u >= 0; u--) if (err_valid_i[u]) first_code = err_code_i[u];
  end

  sequencer #(
      .VmemWords(VmemWords)
  ) u_sequencer (
      .clk_i,
      .rst_ni,
      .clr_i          (clr_o),
      .start_i        (start),
      .entry_i        (entry[23:0]),
      .arg_i          (arg),
      .running_o      (running),
      .halted_o       (halted),
      .halt_code_o    (halt_code),
      .error_o        (error),
      .error_pc_o     (error_pc),
      .res_o          (res),
      .fetch_req_o    (fetch_req),
      .fetch_ready_i  (fetch_ready),
      .fetch_pc_o     (fetch_pc),
      .fetch_valid_i  (fetch_valid),
      .fetch_err_i    (fetch_err),
      .fetch_insn_i   (fetch_insn),
      .disp_valid_o   (disp_valid),
      .disp_ready_i   (disp_ready),
      .disp_desc_o    (disp_desc),
      .idle_i         (idle),
      .unit_err_i     (|err_valid_i),
      .unit_err_code_i(first_code),
      .rdv_valid_o,
      .rdv_addr_o,
      .rdv_ready_i,
      .rdv_data_i,
      .sys_valid_o,
      .sys_seq_o,
      .sys_pc_o,
      .sys_we_o,
      .sys_rd_o,
      .sys_value_o,
      .insn_o         (insn_retired),
      .stall_queue_o  (stall_queue),
      .stall_fence_o  (stall_fence),
      .stall_fetch_o  (stall_fetch)
  );

  issue #(
      .QueueDepth(QueueDepth)
  ) u_issue (
      .clk_i,
      .rst_ni,
      .clr_i       (clr_o || start),
      .disp_valid_i(disp_valid),
      .disp_ready_o(disp_ready),
      .disp_desc_i (disp_desc),
      .idle_o      (idle),
      .desc_valid_o,
      .desc_ready_i,
      .desc_o,
      .done_i,
      .waiting_o   (waiting)
  );

  icache #(
      .AxiBits    (AxiBits),
      .IcacheLines(IcacheLines)
  ) u_icache (
      .clk_i,
      .rst_ni,
      .clr_i    (clr_o),
      .flush_i  (start),
      .base_i   ({base_high[7:0], base_low}),
      .req_i    (fetch_req),
      .ready_o  (fetch_ready),
      .pc_i     (fetch_pc),
      .valid_o  (fetch_valid),
      .err_o    (fetch_err),
      .insn_o   (fetch_insn),
      .arvalid_o(ic_arvalid_o),
      .arready_i(ic_arready_i),
      .araddr_o (ic_araddr_o),
      .arlen_o  (ic_arlen_o),
      .rvalid_i (ic_rvalid_i),
      .rready_o (ic_rready_o),
      .rdata_i  (ic_rdata_i),
      .rresp_i  (ic_rresp_i),
      .rlast_i  (ic_rlast_i),
      .beat_o   (fetch_beat)
  );

  // ---- Counters ----------------------------------------------------------------------------
  always_comb begin
    count                = unit_count_i;
    count[CntCycles]     = running;
    count[CntInsns]      = insn_retired;
    count[CntFetchBeats] = fetch_beat;
    count[CntStallQueue] = stall_queue;
    count[CntStallFence] = stall_fence;
    count[CntStallFetch] = stall_fetch;
    count[CntWaitLd+:4]  = waiting;
  end
endmodule

`default_nettype wire
