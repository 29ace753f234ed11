// Purpose: R channel of the SDRAM controller: keeps read beats and answers wrong requests.
// Latency: three cycles from a beat of the chip to R.
// Throughput: one beat a cycle.
// Back-pressure: room_o is set while a whole chunk fits; the chip's beats cannot wait.
// Notes: answers in the order of the addresses, SLVERR for every beat of a wrong request.

`default_nettype none

module sdr_rdata #(
    parameter int unsigned AxiBits = 128,
    parameter int unsigned DqBits  = 16
) (
    input  wire logic                       clk_i,
    input  wire logic                       rst_ni,
    // Transactions in order
    input  wire logic                       order_valid_i,
    output logic                            order_ready_o,
    input  wire logic [1:0]                 order_id_i,
    input  wire logic [7:0]                 order_len_i,
    input  wire logic                       order_err_i,
    // Chunks that the scheduler takes
    output logic                            room_o,
    input  wire logic                       take_i,
    input  wire logic [sdr_pkg::CountW-1:0] take_count_i,
    // Beats of the chip
    input  wire logic                       beat_valid_i,
    input  wire logic [AxiBits-1:0]         beat_data_i,
    // AXI R
    output logic                            rvalid_o,
    input  wire logic                       rready_i,
    output logic [AxiBits-1:0]              rdata_o,
    output logic [1:0]                      rid_o,
    output logic [1:0]                      rresp_o,
    output logic                            rlast_o
);
  localparam int unsigned BurstsLog = $clog2(AxiBits / DqBits / sdr_pkg::burst_words(AxiBits, DqBits));
  localparam int unsigned ChunkBeats = sdr_pkg::ChunkBursts >> BurstsLog;
  localparam int unsigned UsedW = $clog2(sdr_pkg::FifoBeats + 1);

  typedef struct packed {
    logic [1:0] id;
    logic [7:0] len;
    logic       err;
  } order_t;

  order_t order_in, order;
  logic order_valid, beat_valid, fetch, free, last;
  logic [AxiBits-1:0] beat;
  logic [7:0] index_q;
  logic [UsedW-1:0] used_q, unused_free;
  logic [$clog2(sdr_pkg::Outstanding + 1)-1:0] unused_usage;

  assign order_in = '{id: order_id_i, len: order_len_i, err: order_err_i};

  prim_fifo #(
      .Width($bits(order_t)),
      .Depth(sdr_pkg::Outstanding)
  ) u_order (
      .clk_i,
      .rst_ni,
      .clr_i   (1'b0),
      .wvalid_i(order_valid_i),
      .wready_o(order_ready_o),
      .wdata_i (order_in),
      .rvalid_o(order_valid),
      .rready_i(fetch && last),
      .rdata_o (order),
      .usage_o (unused_usage)
  );

  ram_fifo #(
      .Width(AxiBits),
      .Depth(sdr_pkg::FifoBeats)
  ) u_beats (
      .clk_i,
      .rst_ni,
      .clr_i   (1'b0),
      .wvalid_i(beat_valid_i),
      .wdata_i (beat_data_i),
      .free_o  (unused_free),
      .rvalid_o(beat_valid),
      .rready_i(fetch && !order.err),
      .rdata_o (beat)
  );

  // Beats that are in the FIFO or on their way to it.
  assign room_o = used_q <= UsedW'(sdr_pkg::FifoBeats - ChunkBeats);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) used_q <= '0;
    else begin
      used_q <= used_q + (take_i ? UsedW'(take_count_i) >> BurstsLog : '0) - UsedW'(fetch && !order.err);
    end
  end

  assign free  = !rvalid_o || rready_i;
  assign fetch = free && order_valid && (order.err || beat_valid);
  assign last  = index_q == order.len;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      rvalid_o <= 1'b0;
      index_q  <= '0;
    end else begin
      if (free) rvalid_o <= fetch;
      if (fetch) index_q <= last ? '0 : index_q + 1'b1;
    end
    if (fetch) begin
      rdata_o <= beat;
      rid_o   <= order.id;
      rresp_o <= {order.err, 1'b0};
      rlast_o <= last;
    end
  end
endmodule

`default_nettype wire
