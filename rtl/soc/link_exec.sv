// Purpose: executes requests in order: checks, remembers the last one, starts a bus, writes the reply.
// Latency: five clocks from a waiting request to the start of a bus.
// Throughput: one request at a time.
// Back-pressure: a request waits while the reply before it waits for the framer.
// Notes: a bus that does not answer in TimeoutClocks is left alone; its requests are BUSY until it
//        has answered. A request with a side effect is not executed again when it is repeated.

`default_nettype none

module link_exec
  import lampyris_link_pkg::*;
#(
    parameter int unsigned TimeoutClocks = 1048576
) (
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    // Slot of the oldest request
    input  wire logic        slot_valid_i,
    input  wire logic [6:0]  slot_words_i,
    output logic             slot_re_o,
    output logic [6:0]       slot_raddr_o,
    input  wire logic [31:0] slot_rdata_i,
    output logic             slot_pop_o,
    // Operands of the buses
    output logic [39:0]      addr_o,
    output logic [6:0]       words_o,
    output logic [31:0]      csr_wdata_o,
    output logic             abort_o,
    // Registers
    output logic             csr_start_o,
    output logic             csr_write_o,
    input  wire logic        csr_busy_i,
    input  wire logic        csr_done_i,
    input  wire logic        csr_err_i,
    input  wire logic [31:0] csr_rdata_i,
    // Reads of memory
    output logic             rd_start_o,
    input  wire logic        rd_busy_i,
    input  wire logic        rd_done_i,
    input  wire logic        rd_err_i,
    input  wire logic        rd_word_valid_i,
    input  wire logic [5:0]  rd_word_index_i,
    input  wire logic [31:0] rd_word_i,
    // Writes of memory
    output logic             wr_start_o,
    input  wire logic        wr_busy_i,
    input  wire logic        wr_done_i,
    input  wire logic        wr_err_i,
    input  wire logic        wr_fetch_i,
    input  wire logic [5:0]  wr_index_i,
    // Words of INFO and LINK_STATUS
    output logic             frame_o,
    output logic             repeat_o,
    output logic             info_counters_o,
    output logic [2:0]       info_index_o,
    input  wire logic [31:0] info_word_i,
    // Reply
    input  wire logic        reply_busy_i,
    output logic             reply_start_o,
    output logic [7:0]       reply_seq_o,
    output logic [7:0]       reply_command_o,
    output logic [6:0]       reply_words_o,
    output logic [7:0]       reply_status_o,
    output logic             payload_we_o,
    output logic [5:0]       payload_index_o,
    output logic [31:0]      payload_word_o,
    // Reset of the accelerator
    output logic             host_reset_o
);
  localparam int unsigned TimeW = $clog2(TimeoutClocks + 1);
  localparam logic [6:0] Payload = 7'(RequestHeader / 4);  // first word of it in a slot

  typedef enum logic [3:0] {
    StIdle, StHead0, StHead1, StCheck, StDecide, StInfo, StCsr, StRead, StWrite, StReset, StReply
  } state_e;
  state_e state_q;

  // ------------------------------------------------------------------ the request
  logic [7:0]  seq_q, command_q, length_q;
  logic [6:0]  payload_q;
  logic [39:0] addr_q;
  logic [31:0] first_q;  // first word of the payload

  assign slot_re_o = state_q == StIdle || state_q == StHead0 || state_q == StHead1 ||
                     (state_q == StWrite && wr_fetch_i);

  always_comb begin
    unique case (state_q)
      StIdle:  slot_raddr_o = 7'd0;
      StHead0: slot_raddr_o = 7'd1;
      StHead1: slot_raddr_o = Payload;
      default: slot_raddr_o = Payload + {1'b0, wr_index_i};
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StHead0) begin
      {addr_q[7:0], length_q, command_q, seq_q} <= slot_rdata_i;
      payload_q <= slot_words_i;
    end
    if (state_q == StHead1) addr_q[39:8] <= slot_rdata_i;
    if (state_q == StCheck) first_q <= slot_rdata_i;
  end

  assign addr_o      = addr_q;
  assign words_o     = length_q[6:0];
  assign csr_wdata_o = first_q;

  // ------------------------------------------------------------------ checks
  logic is_csr, is_mem, is_local, is_write, length_ok, crosses;
  logic known_q, length_ok_q, addr_ok_q, repeat_q, once_q;
  logic [10:0] end_word;  // of the transfer, counted from the start of the page

  assign is_csr   = command_q == CmdReadCsr || command_q == CmdWriteCsr;
  assign is_mem   = command_q == CmdReadMem || command_q == CmdWriteMem;
  assign is_local = command_q == CmdInfo || command_q == CmdLinkStatus || command_q == CmdResetCore;
  assign is_write = command_q == CmdWriteCsr || command_q == CmdWriteMem;
  assign end_word = {1'b0, addr_q[11:2]} + {4'd0, words_o};
  assign crosses  = end_word > 11'd1024;

  always_comb begin
    if (is_mem) length_ok = length_q != '0 && length_q <= 8'(MaxWords);
    else length_ok = length_q == {7'd0, is_csr};
    if ({1'b0, payload_q} != (is_write ? length_q : 8'd0)) length_ok = 1'b0;
  end

  logic       last_valid_q;
  logic [7:0] last_seq_q, last_command_q, last_status_q;

  always_ff @(posedge clk_i) begin
    known_q     <= is_csr || is_mem || is_local;
    length_ok_q <= length_ok;
    addr_ok_q   <= is_local || (addr_q[1:0] == '0 && (is_csr ? addr_q[39:12] == '0 : !crosses));
    repeat_q    <= last_valid_q && seq_q == last_seq_q && command_q == last_command_q;
    once_q      <= command_q == CmdWriteCsr || command_q == CmdResetCore;
  end

  // ------------------------------------------------------------------ decision
  logic go, csr_free, rd_free, wr_free;
  logic known_and_new;

  assign known_and_new = known_q && length_ok_q && addr_ok_q && !(repeat_q && once_q);
  assign go            = state_q == StDecide && known_and_new;
  assign csr_free      = is_csr && !csr_busy_i;
  assign rd_free       = command_q == CmdReadMem && !rd_busy_i;
  assign wr_free       = command_q == CmdWriteMem && !wr_busy_i;
  assign csr_start_o   = go && csr_free;
  assign csr_write_o   = is_write;
  assign rd_start_o    = go && rd_free;
  assign wr_start_o    = go && wr_free;
  assign frame_o       = state_q == StDecide;
  assign repeat_o      = state_q == StDecide && repeat_q;

  logic [TimeW-1:0] time_q;
  logic             on_bus, bus_done, bus_err, late;
  logic [4:0]       reset_q;
  logic [7:0]       status_q;
  logic [6:0]       reply_words_q;
  logic [2:0]       info_index_q, info_last;

  assign on_bus    = state_q == StCsr || state_q == StRead || state_q == StWrite;
  assign bus_done  = (state_q == StCsr && csr_done_i) || (state_q == StRead && rd_done_i) ||
                     (state_q == StWrite && wr_done_i);
  assign bus_err   = (state_q == StCsr) ? csr_err_i : (state_q == StRead) ? rd_err_i : wr_err_i;
  assign late      = on_bus && time_q == '0;
  assign abort_o   = late && !bus_done;
  assign info_last = info_counters_o ? 3'(StatusWords - 1) : 3'(InfoWords - 1);

  always_ff @(posedge clk_i) begin
    time_q <= on_bus ? time_q - 1'b1 : TimeW'(TimeoutClocks);
    reset_q <= (state_q == StReset) ? reset_q - 1'b1 : 5'(ResetClocks - 1);
    info_index_q <= (state_q == StInfo) ? info_index_q + 1'b1 : '0;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:  if (slot_valid_i && !reply_busy_i) state_q <= StHead0;
        StHead0: state_q <= StHead1;
        StHead1: state_q <= StCheck;
        StCheck: state_q <= StDecide;
        StDecide: begin
          state_q <= StReply;
          if (csr_start_o) state_q <= StCsr;
          if (rd_start_o) state_q <= StRead;
          if (wr_start_o) state_q <= StWrite;
          if (go && is_local) state_q <= once_q ? StReset : StInfo;
        end
        StInfo:  if (info_index_q == info_last) state_q <= StReply;
        StReset: if (reset_q == '0) state_q <= StReply;
        StReply: state_q <= StIdle;
        default: if (bus_done || late) state_q <= StReply;
      endcase
    end
  end

  // Status and length of the reply.
  always_ff @(posedge clk_i) begin
    if (state_q == StDecide) begin
      reply_words_q <= '0;
      if (repeat_q && once_q) status_q <= last_status_q;
      else if (!known_q) status_q <= StatusBadCommand;
      else if (!length_ok_q) status_q <= StatusBadLength;
      else if (!addr_ok_q) status_q <= StatusBadAddress;
      else status_q <= is_local ? StatusOk : StatusBusy;
    end
    if (state_q == StInfo) reply_words_q <= {4'd0, info_last} + 1'b1;
    if (on_bus) begin
      status_q <= !bus_done ? StatusTimeout : bus_err ? StatusBusError : StatusOk;
      if (bus_done && !bus_err && !is_write) reply_words_q <= words_o;
    end
  end

  // What a repeated request is compared with.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) last_valid_q <= 1'b0;
    else if (state_q == StReply) last_valid_q <= 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StReply) begin
      last_seq_q     <= seq_q;
      last_command_q <= command_q;
      last_status_q  <= status_q;
    end
  end

  // ------------------------------------------------------------------ reply
  assign slot_pop_o      = state_q == StReply;
  assign reply_start_o   = state_q == StReply;
  assign reply_seq_o     = seq_q;
  assign reply_command_o = command_q;
  assign reply_words_o   = reply_words_q;
  assign reply_status_o  = status_q;
  assign info_counters_o = command_q == CmdLinkStatus;
  assign info_index_o    = info_index_q;

  always_ff @(posedge clk_i) begin
    payload_we_o    <= state_q == StInfo || state_q == StCsr || (state_q == StRead && rd_word_valid_i);
    payload_index_o <= (state_q == StRead) ? rd_word_index_i : {3'd0, info_index_q};
    payload_word_o  <= info_word_i;
    if (state_q == StRead) payload_word_o <= rd_word_i;
    if (state_q == StCsr) payload_word_o <= csr_rdata_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) host_reset_o <= 1'b0;
    else host_reset_o <= state_q == StReset;
  end
endmodule

`default_nettype wire
