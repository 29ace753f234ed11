// Purpose: executes st.v, st.k and st.t: checks, order of the steps, responses, retirement.
// Latency: the first write address follows acceptance by about eight cycles.
// Throughput: st.v one word per cycle; st.k and st.t one beat per cycle; 16 bursts outstanding.
// Back-pressure: ready/valid; addresses and data are offered independently of each other.
// Notes: retires when every response has arrived; clr_i completes the bursts already announced.

`default_nettype none

module st_unit #(
    parameter int unsigned AxiBits    = 256,
    parameter int unsigned Channels   = 1,
    parameter bit          Kv4        = 1'b1,  // codes of 4 bits in st.k and st.t
    parameter int unsigned SfuLanes   = 8,
    parameter int unsigned VmemWords  = 131072,
    parameter int unsigned XbufBlocks = 4096
) (
    input  wire logic                                   clk_i,
    input  wire logic                                   rst_ni,
    input  wire logic                                   clr_i,
    input  wire logic                                   desc_valid_i,
    output logic                                        desc_ready_o,
    input  wire lampyris_pkg::desc_t                    desc_i,
    output logic                                        done_o,
    output logic [31:0]                                 done_seq_o,
    output logic                                        busy_o,
    output logic                                        err_valid_o,
    output logic [7:0]                                  err_code_o,
    // Vector memory
    output logic                                        vrd_valid_o,
    output logic [$clog2(VmemWords/SfuLanes)-1:0]       vrd_line_o,
    input  wire logic                                   vrd_ready_i,
    input  wire logic [32*SfuLanes-1:0]                 vrd_data_i,
    // Activation buffer
    output logic                                        xrd_valid_o,
    output logic [$clog2(XbufBlocks)-1:0]               xrd_addr_o,
    input  wire logic                                   xrd_ready_i,
    input  wire lampyris_pkg::act_block_t               xrd_data_i,
    // AXI write
    output logic                                        awvalid_o,
    input  wire logic                                   awready_i,
    output logic [39:0]                                 awaddr_o,
    output logic [7:0]                                  awlen_o,
    output logic                                        wvalid_o,
    input  wire logic                                   wready_i,
    output logic [AxiBits-1:0]                          wdata_o,
    output logic [AxiBits/8-1:0]                        wstrb_o,
    output logic                                        wlast_o,
    input  wire logic                                   bvalid_i,
    output logic                                        bready_o,
    input  wire logic [1:0]                             bresp_i
);
  localparam int unsigned Words = AxiBits / 32;
  localparam int unsigned WordsLog2 = $clog2(Words);
  localparam int unsigned PageBeats = 4096 / (AxiBits / 8);
  localparam int unsigned VaW = $clog2(VmemWords);
  localparam int unsigned XaW = $clog2(XbufBlocks);
  // A chunk of memory, and the row in a tile of st.k or the column of st.t.
  localparam int unsigned ChunkLog2 = 6 + $clog2(Channels);
  localparam int unsigned RowW = Channels > 2 ? 4 + $clog2(Channels) : 5;

  typedef enum logic [2:0] {StIdle, StCheck, StBurst, StIssue, StData, StBlocks, StWait, StError} state_e;

  state_e state_q;
  logic flush_q;

  // ------------------------------------------------------------------ operands and checks
  lampyris_isa_pkg::stv_t insn_v;
  lampyris_isa_pkg::stt_t insn_t;
  logic vector_q, column_q, nibbles_q, empty, bad, illegal, accept, unused_desc;
  logic [31:0] seq_q, stride_q;
  logic [39:0] addr_q, count_q, src_q;
  logic [RowW-1:0] row_q;

  // st.k has the fields of st.t, less the stride.
  assign insn_v       = desc_i.insn;
  assign insn_t       = desc_i.insn;
  assign unused_desc  = ^{desc_i, insn_v, insn_t};
  assign desc_ready_o = state_q == StIdle && !flush_q && !clr_i;
  assign accept       = desc_valid_i && desc_ready_o;

  always_ff @(posedge clk_i) begin
    if (accept) begin
      vector_q <= insn_v.opcode == lampyris_isa_pkg::OpStV;
      column_q <= insn_v.opcode == lampyris_isa_pkg::OpStT;
      nibbles_q <= insn_v.opcode != lampyris_isa_pkg::OpStV && insn_t.nibbles;
      seq_q    <= desc_i.seq;
      addr_q   <= desc_i.rval[0] + desc_i.rval[1] + insn_v.addr;
      row_q    <= desc_i.rval[2][RowW-1:0];
      if (insn_v.opcode == lampyris_isa_pkg::OpStV) begin
        count_q <= desc_i.rval[2] + 40'(insn_v.count);
        src_q   <= desc_i.rval[3] + 40'(insn_v.src);
      end else begin
        count_q <= 40'(insn_t.blocks);
        src_q   <= desc_i.rval[3] + 40'(insn_t.src);
      end
      stride_q <= insn_v.opcode == lampyris_isa_pkg::OpStT ? insn_t.stride : '0;
    end
  end

  logic [39:0] space;
  always_comb begin
    space = vector_q ? 40'(VmemWords) : 40'(XbufBlocks);
    empty = count_q == 0;
    illegal = nibbles_q && !Kv4;
    bad   = vector_q ? |addr_q[1:0] : |{addr_q[ChunkLog2-1:0], stride_q[ChunkLog2-1:0]};
    if (count_q > space || src_q > space || 20'(count_q[18:0]) + 20'(src_q[18:0]) > 20'(space)) begin
      bad = 1'b1;
    end
  end

  // ------------------------------------------------------------------ bursts of st.v
  logic [37:0] word_q;
  logic [VaW:0] left_q;
  logic [10:0] left_low, words_room, words_d, words_q;
  logic [9:0] beats_need;
  logic [6:0] beats_d, beats_q;
  logic [10-WordsLog2:0] beats_page;
  logic [WordsLog2-1:0] offset;

  assign offset     = word_q[WordsLog2-1:0];
  assign left_low   = |left_q[VaW:10] ? 11'd1024 : 11'(left_q[9:0]);
  assign beats_page = (11 - WordsLog2)'(PageBeats) - (11 - WordsLog2)'(word_q[9:WordsLog2]);
  always_comb begin
    beats_need = 10'((12'(left_low) + 12'(offset) + 12'(Words - 1)) >> WordsLog2);
    beats_d    = beats_need < 10'd64 ? 7'(beats_need) : 7'd64;
    if (10'(beats_page) < 10'(beats_d)) beats_d = 7'(beats_page);
    words_room = 11'(12'(beats_d) << WordsLog2) - 11'(offset);
    words_d    = left_low < words_room ? left_low : words_room;
  end

  logic issue_v, aw_open, w_ready;
  assign issue_v = state_q == StIssue && aw_open;
  always_ff @(posedge clk_i) begin
    if (state_q == StCheck) begin
      word_q <= addr_q[39:2];
      left_q <= count_q[VaW:0];
    end else if (issue_v) begin
      word_q <= word_q + 38'(words_q);
      left_q <= left_q - (VaW + 1)'(words_q);
    end
    if (state_q == StBurst) begin
      beats_q <= beats_d;
      words_q <= words_d;
    end
  end

  // ------------------------------------------------------------------ data
  logic start, vec_valid, vec_done, blk_valid, blk_done;
  logic [AxiBits-1:0] vec_data, blk_data;
  logic [AxiBits/8-1:0] vec_strb, blk_strb;
  logic [39:0] blk_addr;

  assign start = state_q == StCheck && !illegal && !empty && !bad && !clr_i;

  st_vector #(
      .AxiBits(AxiBits),
      .SfuLanes(SfuLanes),
      .VmemWords(VmemWords)
  ) u_vector (
      .clk_i,
      .rst_ni,
      .clr_i,
      .start_i(start && vector_q),
      .src_i(src_q[VaW-1:0]),
      .count_i(count_q[VaW:0]),
      .burst_i(issue_v && !clr_i),
      .offset_i(offset),
      .words_i(words_q),
      .vrd_valid_o,
      .vrd_line_o,
      .vrd_ready_i,
      .vrd_data_i,
      .beat_valid_o(vec_valid),
      .beat_ready_i(w_ready),
      .beat_data_o(vec_data),
      .beat_strb_o(vec_strb),
      .burst_done_o(vec_done)
  );

  st_block #(
      .AxiBits(AxiBits),
      .Channels(Channels),
      .Kv4(Kv4),
      .XbufBlocks(XbufBlocks)
  ) u_block (
      .clk_i,
      .rst_ni,
      .clr_i,
      .start_i(start && !vector_q),
      .column_i(column_q),
      .nibbles_i(nibbles_q),
      .addr_i(addr_q),
      .stride_i(stride_q),
      .row_i(row_q),
      .src_i(src_q[XaW-1:0]),
      .blocks_i(count_q[7:0]),
      .xrd_valid_o,
      .xrd_addr_o,
      .xrd_ready_i,
      .xrd_data_i,
      .write_valid_o(blk_valid),
      .write_ready_i(aw_open && w_ready),
      .write_addr_o(blk_addr),
      .write_data_o(blk_data),
      .write_strb_o(blk_strb),
      .done_o(blk_done)
  );

  // ------------------------------------------------------------------ AXI
  typedef struct packed {
    logic                 last;
    logic [AxiBits/8-1:0] strb;
    logic [AxiBits-1:0]   data;
  } beat_t;

  beat_t beat_in, beat_out;
  logic [2:0] unused_usage;
  logic unused_resp;
  logic issue_b, issue, push, fail, idle, awvalid_q;
  logic [39:0] awaddr_q;
  logic [7:0] awlen_q;
  logic [4:0] outstanding_q;  // bursts without a response
  logic [6:0] owed_q, owed;   // beats of announced bursts that are not in the FIFO yet

  assign aw_open = (!awvalid_q || awready_i) && !outstanding_q[4];
  assign issue_b = state_q == StBlocks && blk_valid && aw_open && w_ready;
  assign issue   = (issue_v || issue_b) && !clr_i;
  assign owed    = issue_b ? 7'd1 : owed_q;

  // After a soft reset the beats that are owed go out without strobes.
  assign push         = flush_q ? owed_q != 0 : (vec_valid || issue_b) && !clr_i;
  assign beat_in.last = owed == 7'd1;
  assign beat_in.strb = flush_q ? '0 : issue_b ? blk_strb : vec_strb;
  assign beat_in.data = issue_b ? blk_data : vec_data;

  prim_fifo #(
      .Width($bits(beat_t)),
      .Depth(4)
  ) u_beats (
      .clk_i,
      .rst_ni,
      .clr_i   (1'b0),
      .wvalid_i(push),
      .wready_o(w_ready),
      .wdata_i (beat_in),
      .rvalid_o(wvalid_o),
      .rready_i(wready_i),
      .rdata_o (beat_out),
      .usage_o (unused_usage)
  );
  assign wdata_o  = beat_out.data;
  assign wstrb_o  = beat_out.strb;
  assign wlast_o  = beat_out.last;
  assign bready_o = 1'b1;
  assign unused_resp = bresp_i[0];
  assign fail     = bvalid_i && bresp_i[1] && !flush_q && state_q != StError;
  assign idle     = outstanding_q == 0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      awvalid_q     <= 1'b0;
      outstanding_q <= '0;
      owed_q        <= '0;
      flush_q       <= 1'b0;
    end else begin
      if (issue) awvalid_q <= 1'b1;
      else if (awready_i) awvalid_q <= 1'b0;
      outstanding_q <= outstanding_q + 5'(issue) - 5'(bvalid_i);
      if (issue_v && !clr_i) owed_q <= beats_q;
      else if (push && w_ready && !issue_b) owed_q <= owed_q - 7'd1;
      if (clr_i) flush_q <= 1'b1;
      else if (idle) flush_q <= 1'b0;
    end
    if (issue) begin
      awaddr_q <= issue_b ? blk_addr : {word_q[37:WordsLog2], (WordsLog2 + 2)'(0)};
      awlen_q  <= issue_b ? 8'd0 : 8'(beats_q) - 8'd1;
    end
  end
  assign awvalid_o = awvalid_q;
  assign awaddr_o  = awaddr_q;
  assign awlen_o   = awlen_q;

  // ------------------------------------------------------------------ control
  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:   if (accept) state_q <= StCheck;
        StCheck: begin
          if (illegal) state_q <= StError;
          else state_q <= empty ? StWait : bad ? StError : vector_q ? StBurst : StBlocks;
        end
        StBurst:  state_q <= StIssue;
        StIssue:  if (issue_v) state_q <= StData;
        StData:   if (vec_done) state_q <= left_q == 0 ? StWait : StBurst;
        StBlocks: if (blk_done) state_q <= StWait;
        StWait:   if (idle) state_q <= StIdle;
        default:  ;
      endcase
      if (fail) state_q <= StError;
    end
  end

  assign done_o      = state_q == StWait && idle;
  assign done_seq_o  = seq_q;
  assign busy_o      = (state_q != StIdle && state_q != StError) || flush_q;
  assign err_valid_o = fail || (state_q == StCheck && (illegal || (!empty && bad)));
  always_comb begin
    if (fail) err_code_o = lampyris_isa_pkg::ErrMemory;
    else err_code_o = illegal ? lampyris_isa_pkg::ErrIllegal : lampyris_isa_pkg::ErrAddress;
  end
endmodule

`default_nettype wire
