// Purpose: queues of result lines and of single words, and their way to vector memory.
// Latency: 1 cycle to the write request.
// Throughput: one line or word a cycle; lines go before words.
// Back-pressure: the memory's; towards the lanes by reservation: *_take_i reserves, *_room_o says
//                that one more may be reserved.
// Notes: idle_o: everything reserved has been written.

`default_nettype none

module sfu_write #(
    parameter int unsigned SfuLanes  = 8,
    parameter int unsigned VmemWords = 131072,
    localparam int unsigned LineAw   = $clog2(VmemWords / SfuLanes)
) (
    input  wire logic                      clk_i,
    input  wire logic                      rst_ni,
    input  wire logic                      clr_i,
    input  wire logic                      line_take_i,
    output logic                           line_room_o,
    input  wire logic                      line_valid_i,
    input  wire logic [LineAw-1:0]         line_addr_i,
    input  wire logic [SfuLanes-1:0]       line_mask_i,
    input  wire logic [SfuLanes-1:0][31:0] line_data_i,
    input  wire logic                      word_take_i,
    output logic                           word_room_o,
    input  wire logic                      word_valid_i,
    input  wire logic                      word_pair_i,  // a second word follows at the next address
    input  wire logic [17:0]               word_addr_i,
    input  wire logic [31:0]               word_data_i,
    input  wire logic [31:0]               word_second_i,
    output logic                           idle_o,
    output logic                           vwr_valid_o,
    output logic [LineAw-1:0]              vwr_line_o,
    output logic [SfuLanes-1:0]            vwr_mask_o,
    output logic [SfuLanes-1:0][31:0]      vwr_data_o,
    input  wire logic                      vwr_ready_i
);
  localparam int unsigned LaneW = $clog2(SfuLanes);
  // As many lines as can be under way from the reservation to the write, so that neither waits.
  localparam int unsigned LineDepth = 32;
  localparam int unsigned WordDepth = 8;

  typedef struct packed {
    logic [LineAw-1:0]         addr;
    logic [SfuLanes-1:0]       mask;
    logic [SfuLanes-1:0][31:0] data;
  } line_t;

  typedef struct packed {
    logic        pair;
    logic [17:0] addr;
    logic [31:0] data;
    logic [31:0] second;
  } word_t;

  line_t                          line;
  word_t                          word;
  logic                           line_valid, word_valid, line_done, word_done, second_q;
  logic                           line_ready, word_ready;
  logic [$clog2(LineDepth+1)-1:0] lines_q, unused_line_usage;
  logic [$clog2(WordDepth+1)-1:0] words_q, unused_word_usage;
  logic [17:0]                    word_addr;
  logic                           unused_word_addr;

  prim_fifo #(
      .Width($bits(line_t)),
      .Depth(LineDepth)
  ) u_lines (
      .clk_i,
      .rst_ni,
      .clr_i,
      .wvalid_i(line_valid_i),
      .wready_o(line_ready),
      .wdata_i ({line_addr_i, line_mask_i, line_data_i}),
      .rvalid_o(line_valid),
      .rready_i(vwr_ready_i),
      .rdata_o (line),
      .usage_o (unused_line_usage)
  );

  prim_fifo #(
      .Width($bits(word_t)),
      .Depth(WordDepth)
  ) u_words (
      .clk_i,
      .rst_ni,
      .clr_i,
      .wvalid_i(word_valid_i),
      .wready_o(word_ready),
      .wdata_i ({word_pair_i, word_addr_i, word_data_i, word_second_i}),
      .rvalid_o(word_valid),
      .rready_i(word_done),
      .rdata_o (word),
      .usage_o (unused_word_usage)
  );

  assign line_done        = line_valid && vwr_ready_i;
  assign word_done        = word_valid && !line_valid && vwr_ready_i && (second_q || !word.pair);
  assign word_addr        = word.addr + 18'(second_q);
  assign unused_word_addr = ^word_addr;

  assign vwr_valid_o = line_valid || word_valid;
  assign vwr_line_o  = line_valid ? line.addr : word_addr[LaneW+:LineAw];
  assign vwr_mask_o  = line_valid ? line.mask : SfuLanes'(1) << word_addr[LaneW-1:0];
  assign vwr_data_o  = line_valid ? line.data
                                  : {SfuLanes{second_q ? word.second : word.data}};

  // ------------------------------------------------------------------ reservations
  assign line_room_o = lines_q != ($bits(lines_q))'(LineDepth);
  assign word_room_o = words_q != ($bits(words_q))'(WordDepth);
  assign idle_o      = lines_q == '0 && words_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      lines_q  <= '0;
      words_q  <= '0;
      second_q <= 1'b0;
    end else begin
      lines_q <= lines_q + ($bits(lines_q))'(line_take_i) - ($bits(lines_q))'(line_done);
      words_q <= words_q + ($bits(words_q))'(word_take_i) - ($bits(words_q))'(word_done);
      if (word_valid && !line_valid && vwr_ready_i) second_q <= word.pair && !second_q;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && !clr_i) begin
      assert (!line_valid_i || line_ready) else $fatal(1, "sfu_write: line without reservation");
      assert (!word_valid_i || word_ready) else $fatal(1, "sfu_write: word without reservation");
    end
  end
`else
  logic unused_ready;
  assign unused_ready = line_ready ^ word_ready;
`endif
endmodule

`default_nettype wire
