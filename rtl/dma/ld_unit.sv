// Purpose: executes ld.w and ld.v: checks, splits runs into bursts and issues read addresses.
// Latency: an instruction's first address follows its acceptance by four cycles.
// Throughput: a burst every two cycles, up to 16 outstanding, across instructions.
// Back-pressure: room for a burst's beats is reserved before it is issued, so R never stalls.
// Notes: ld_recv delivers the beats and retires; clr_i discards what is still under way. With several
//        channels a beat is one of all of them side by side, and addresses are those of all.

`default_nettype none

module ld_unit #(
    parameter int unsigned AxiBits     = 256,
    parameter int unsigned Channels    = 1,
    parameter int unsigned SfuLanes    = 8,
    parameter int unsigned VmemWords   = 131072,
    parameter int unsigned StreamBeats = 1024,
    localparam int unsigned BeatBits   = Channels * AxiBits
) (
    input  wire logic                                        clk_i,
    input  wire logic                                        rst_ni,
    input  wire logic                                        clr_i,
    input  wire logic                                        desc_valid_i,
    output logic                                             desc_ready_o,
    input  wire lampyris_pkg::desc_t                         desc_i,
    output logic                                             done_o,
    output logic [31:0]                                      done_seq_o,
    output logic                                             busy_o,
    output logic                                             err_valid_o,
    output logic [7:0]                                       err_code_o,
    // AXI read
    output logic                                             arvalid_o,
    input  wire logic                                        arready_i,
    output logic [39:0]                                      araddr_o,
    output logic [7:0]                                       arlen_o,
    input  wire logic                                        rvalid_i,
    output logic                                             rready_o,
    input  wire logic [BeatBits-1:0]                         rdata_i,
    input  wire logic [1:0]                                  rresp_i,
    input  wire logic                                        rlast_i,
    // Weight stream
    output logic                                             swr_valid_o,
    output logic [BeatBits-1:0]                              swr_data_o,
    input  wire logic [$clog2(StreamBeats + 1)-1:0]          free_i,
    // Vector memory
    output logic                                             vwr_valid_o,
    output logic [$clog2(VmemWords/SfuLanes)-1:0]            vwr_line_o,
    output logic [SfuLanes-1:0]                              vwr_mask_o,
    output logic [32*SfuLanes-1:0]                           vwr_data_o,
    input  wire logic                                        vwr_ready_i,
    // Counters
    output logic                                             stream_full_o,
    output logic                                             stream_beat_o,
    output logic                                             vector_beat_o
);
  localparam int unsigned WordsLog2 = $clog2(BeatBits / 32);
  localparam int unsigned Words = BeatBits / 32;
  localparam int unsigned ChannelsLog2 = $clog2(Channels);
  // Words of a chunk, and of 4 KiB of every channel: more than a burst has.
  localparam int unsigned ChunkLog2 = 4 + ChannelsLog2;
  localparam int unsigned PageLog2 = 10 + ChannelsLog2;
  localparam int unsigned WordsW = PageLog2 + 1;
  localparam int unsigned LeftW = 40 + ChunkLog2;
  // A quarter of the stream buffer, so that bursts overlap even in a small one.
  localparam int unsigned MaxBurst = (StreamBeats / 4 < 64) ? StreamBeats / 4 : 64;
  localparam int unsigned VecBeats = 128;
  localparam int unsigned PageBeats = 4096 / (AxiBits / 8);
  localparam int unsigned VaW = $clog2(VmemWords);
  localparam int unsigned FreeW = $clog2(StreamBeats + 1);

  typedef enum logic [2:0] {StIdle, StProduct, StCheck, StBurst, StIssue, StError} state_e;

  state_e state_q;
  logic drain_q;

  // ------------------------------------------------------------------ operands and checks
  lampyris_isa_pkg::ldv_t insn;
  logic is_v_q, empty, bad;
  logic [31:0] seq_q, stride_q;
  logic [39:0] addr_q, count_q, dst_q;
  logic [11:0] rows_q;
  logic [30:0] total_q;
  logic accept, unused_desc;

  // ld.w has the same fields at the same places, less dst.
  assign insn        = desc_i.insn;
  assign unused_desc = ^{desc_i, insn};

  logic instr_wready, instr_push, meta_wready;
  assign desc_ready_o = state_q == StIdle && !drain_q && !clr_i;
  assign accept       = desc_valid_i && desc_ready_o;

  always_ff @(posedge clk_i) begin
    if (accept) begin
      is_v_q   <= insn.opcode == lampyris_isa_pkg::OpLdV;
      seq_q    <= desc_i.seq;
      addr_q   <= desc_i.rval[0] + desc_i.rval[1] + insn.addr;
      count_q  <= desc_i.rval[2] + 40'(insn.count);
      dst_q    <= desc_i.rval[3] + 40'(insn.dst);
      stride_q <= insn.stride;
    end
    if (state_q == StProduct) total_q <= 31'(rows_q) * 31'(count_q[18:0]);
  end

  always_comb begin
    empty = rows_q == 0 || count_q == 0;
    bad   = |{addr_q[1:0], stride_q[1:0]};
    if (is_v_q) begin
      if (count_q > 40'(VmemWords) || dst_q > 40'(VmemWords)) bad = 1'b1;
      if (33'(total_q) + 33'(dst_q[18:0]) > 33'(VmemWords)) bad = 1'b1;
    end else if (|{addr_q[ChunkLog2+1:2], stride_q[ChunkLog2+1:2]}) begin
      bad = 1'b1;
    end
  end

  // ------------------------------------------------------------------ bursts
  // Addresses and lengths in words; ld.w counts chunks of 16 words a channel.
  logic [37:0] run_q, word_q, run_next;
  logic [LeftW-1:0] left_q, run_words;
  logic [WordsW-1:0] left_low;
  logic [9:0] beats_need;
  logic [6:0] beats_d, beats_q;
  logic [PageLog2-WordsLog2:0] beats_page;
  logic [WordsW-1:0] words_d, words_q, words_room;
  logic [WordsLog2-1:0] offset;
  logic run_end, room, issue, last_burst;

  assign run_words  = is_v_q ? LeftW'(count_q) : {count_q, ChunkLog2'(0)};
  assign run_next   = run_q + 38'(stride_q[31:2]);
  assign offset     = word_q[WordsLog2-1:0];
  // More than a burst holds looks like the most a burst holds.
  assign left_low   = |left_q[LeftW-1:PageLog2] ? WordsW'(1) << PageLog2 : left_q[WordsW-1:0];
  assign beats_page = (WordsW - WordsLog2)'(PageBeats)
      - (WordsW - WordsLog2)'(word_q[PageLog2-1:WordsLog2]);

  always_comb begin
    beats_need = 10'(((WordsW + 1)'(left_low) + (WordsW + 1)'(offset) + (WordsW + 1)'(Words - 1)) >> WordsLog2);
    beats_d    = beats_need < 10'(MaxBurst) ? 7'(beats_need) : 7'(MaxBurst);
    if (10'(beats_page) < 10'(beats_d)) beats_d = 7'(beats_page);
    words_room = WordsW'((WordsW + 1)'(beats_d) << WordsLog2) - WordsW'(offset);
    words_d    = left_low < words_room ? left_low : words_room;
  end

  assign run_end    = left_q == LeftW'(words_q);
  assign last_burst = run_end && rows_q == 12'd1;

  // Beats promised to bursts under way, and what is left of the vector FIFO.
  logic [FreeW-1:0] promised_q;
  logic [7:0] vec_free_q;
  logic vec_pop, arvalid_q;

  assign room  = is_v_q ? vec_free_q >= 8'(beats_q) : FreeW'(free_i - promised_q) >= FreeW'(beats_q);
  assign issue = state_q == StIssue && room && meta_wready && (!arvalid_q || arready_i);
  assign stream_full_o = state_q == StIssue && !is_v_q && !room;

  always_ff @(posedge clk_i) begin
    if (state_q == StCheck) begin
      run_q  <= addr_q[39:2];
      word_q <= addr_q[39:2];
      left_q <= run_words;
    end else if (issue) begin
      run_q  <= run_end ? run_next : run_q;
      word_q <= run_end ? run_next : word_q + 38'(words_q);
      left_q <= run_end ? run_words : left_q - LeftW'(words_q);
    end
    if (accept) rows_q <= insn.rows;
    else if (issue && run_end) rows_q <= rows_q - 12'd1;
    if (state_q == StBurst) begin
      beats_q <= beats_d;
      words_q <= words_d;
    end
  end

  // ------------------------------------------------------------------ control
  logic check_fail, recv_err, recv_idle;
  assign check_fail = state_q == StCheck && !empty && bad && instr_wready;
  assign instr_push = state_q == StCheck && (empty || !bad) && !clr_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:    if (accept) state_q <= StProduct;
        StProduct: state_q <= StCheck;
        StCheck: begin
          if (instr_wready) state_q <= empty ? StIdle : bad ? StError : StBurst;
        end
        StBurst:   state_q <= StIssue;
        StIssue:   if (issue) state_q <= last_burst ? StIdle : StBurst;
        default:   ;
      endcase
      if (recv_err) state_q <= StError;
    end
  end

  logic swr_beat;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      promised_q <= '0;
      vec_free_q <= 8'(VecBeats);
    end else begin
      promised_q <= promised_q + (issue && !is_v_q ? FreeW'(beats_q) : '0) - FreeW'(swr_beat);
      vec_free_q <= vec_free_q - (issue && is_v_q ? 8'(beats_q) : 8'd0) + 8'(vec_pop);
    end
  end

  // An address that was offered must stay until it is taken, soft reset or not.
  logic [39:0] araddr_q;
  logic [7:0] arlen_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      arvalid_q <= 1'b0;
      drain_q   <= 1'b0;
    end else begin
      if (issue && !clr_i) arvalid_q <= 1'b1;
      else if (arready_i) arvalid_q <= 1'b0;
      if (clr_i) drain_q <= 1'b1;
      else if (recv_idle && !arvalid_q) drain_q <= 1'b0;
    end
    if (issue) begin
      araddr_q <= {word_q[37:WordsLog2], (WordsLog2 + 2)'(0)};
      arlen_q  <= 8'(beats_q) - 8'd1;
    end
  end
  assign arvalid_o   = arvalid_q;
  assign araddr_o    = araddr_q;
  assign arlen_o     = arlen_q;
  assign err_valid_o = check_fail || recv_err;
  assign err_code_o  = recv_err ? lampyris_isa_pkg::ErrMemory : lampyris_isa_pkg::ErrAddress;

  // ------------------------------------------------------------------ receiving side
  logic recv_busy;
  ld_recv #(
      .AxiBits(BeatBits),
      .SfuLanes(SfuLanes),
      .VmemWords(VmemWords),
      .VecBeats(VecBeats),
      .WordsW(WordsW)
  ) u_recv (
      .clk_i,
      .rst_ni,
      .clr_i,
      .drain_i(drain_q || clr_i),
      .instr_valid_i(instr_push),
      .instr_ready_o(instr_wready),
      .instr_seq_i(seq_q),
      .instr_empty_i(empty),
      .instr_vector_i(is_v_q),
      .instr_dst_i(dst_q[VaW-1:0]),
      .burst_valid_i(issue && !clr_i),
      .burst_ready_o(meta_wready),
      .burst_vector_i(is_v_q),
      .burst_last_i(last_burst),
      .burst_offset_i(offset),
      .burst_words_i(words_q),
      .rvalid_i,
      .rready_o,
      .rdata_i,
      .rresp_i,
      .rlast_i,
      .swr_valid_o(swr_beat),
      .swr_data_o,
      .vec_beat_o(vector_beat_o),
      .vec_pop_o(vec_pop),
      .vwr_valid_o,
      .vwr_line_o,
      .vwr_mask_o,
      .vwr_data_o,
      .vwr_ready_i,
      .done_o,
      .done_seq_o,
      .err_o(recv_err),
      .busy_o(recv_busy),
      .idle_o(recv_idle)
  );
  assign swr_valid_o   = swr_beat;
  assign stream_beat_o = swr_beat;
  assign busy_o        = (state_q != StIdle && state_q != StError) || recv_busy || drain_q;
endmodule

`default_nettype wire
