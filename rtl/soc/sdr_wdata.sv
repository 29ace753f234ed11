// Purpose: W and B channels of the SDRAM controller: keeps write beats and acknowledges.
// Latency: two cycles from W to the data path, two from the last command to B.
// Throughput: one beat a cycle.
// Back-pressure: W waits for its address and for room; enough_o is set while the chunk that is
//        offered has all its beats.
// Notes: beats of a wrong request are thrown away and answered with SLVERR. B comes when the last
//        command of a transaction is issued: later commands cannot overtake it.

`default_nettype none

module sdr_wdata #(
    parameter int unsigned AxiBits = 128,
    parameter int unsigned DqBits  = 16
) (
    input  wire logic                       clk_i,
    input  wire logic                       rst_ni,
    // Transactions in order
    input  wire logic                       order_valid_i,
    output logic                            order_ready_o,
    input  wire logic [1:0]                 order_id_i,
    input  wire logic                       order_err_i,
    // AXI W
    input  wire logic                       wvalid_i,
    output logic                            wready_o,
    input  wire logic [AxiBits-1:0]         wdata_i,
    input  wire logic [AxiBits/8-1:0]       wstrb_i,
    input  wire logic                       wlast_i,
    // The chunk that is offered to the scheduler, and whether it takes it
    output logic                            enough_o,
    input  wire logic                       take_i,
    input  wire logic [sdr_pkg::CountW-1:0] take_count_i,
    // The last command of a transaction was issued
    input  wire logic                       done_i,
    // To the data path
    output logic                            beat_valid_o,
    input  wire logic                       beat_ready_i,
    output logic [AxiBits-1:0]              beat_data_o,
    output logic [AxiBits/8-1:0]            beat_strb_o,
    // AXI B
    output logic                            bvalid_o,
    input  wire logic                       bready_i,
    output logic [1:0]                      bid_o,
    output logic [1:0]                      bresp_o
);
  localparam int unsigned BurstsLog = $clog2(AxiBits / DqBits / sdr_pkg::burst_words(AxiBits, DqBits));
  localparam int unsigned UsedW = $clog2(sdr_pkg::FifoBeats + 1);
  localparam int unsigned UsageW = $clog2(sdr_pkg::Outstanding + 1);

  // Transactions whose beats are awaited, and those whose response is.
  logic data_open, data_valid, data_err, resp_open, resp_valid, resp_err, beat, respond;
  logic [1:0] resp_id;
  logic [1:0][UsageW-1:0] unused_usage;

  assign order_ready_o = data_open && resp_open;

  prim_fifo #(
      .Width(1),
      .Depth(sdr_pkg::Outstanding)
  ) u_data (
      .clk_i,
      .rst_ni,
      .clr_i   (1'b0),
      .wvalid_i(order_valid_i && resp_open),
      .wready_o(data_open),
      .wdata_i (order_err_i),
      .rvalid_o(data_valid),
      .rready_i(beat && wlast_i),
      .rdata_o (data_err),
      .usage_o (unused_usage[0])
  );

  prim_fifo #(
      .Width(3),
      .Depth(sdr_pkg::Outstanding)
  ) u_resp (
      .clk_i,
      .rst_ni,
      .clr_i   (1'b0),
      .wvalid_i(order_valid_i && data_open),
      .wready_o(resp_open),
      .wdata_i ({order_id_i, order_err_i}),
      .rvalid_o(resp_valid),
      .rready_i(respond),
      .rdata_o ({resp_id, resp_err}),
      .usage_o (unused_usage[1])
  );

  // ------------------------------------------------------------------ beats
  logic store;
  logic [UsedW-1:0] free, ready_q, wanted;

  assign wready_o = data_valid && (data_err || free != 0);
  assign beat     = wvalid_i && wready_o;
  assign store    = beat && !data_err;

  ram_fifo #(
      .Width(AxiBits + AxiBits / 8),
      .Depth(sdr_pkg::FifoBeats)
  ) u_beats (
      .clk_i,
      .rst_ni,
      .clr_i   (1'b0),
      .wvalid_i(store),
      .wdata_i ({wstrb_i, wdata_i}),
      .free_o  (free),
      .rvalid_o(beat_valid_o),
      .rready_i(beat_ready_i),
      .rdata_o ({beat_strb_o, beat_data_o})
  );

  // Beats that came and belong to no chunk yet.
  assign wanted   = UsedW'(take_count_i) >> BurstsLog;
  assign enough_o = ready_q >= wanted;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) ready_q <= '0;
    else ready_q <= ready_q + UsedW'(store) - (take_i ? wanted : '0);
  end

  // ------------------------------------------------------------------ responses
  logic free_b;
  logic [UsageW-1:0] done_q, dropped_q;  // transactions that may be answered

  assign free_b  = !bvalid_o || bready_i;
  assign respond = free_b && resp_valid && (resp_err ? dropped_q != 0 : done_q != 0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      done_q    <= '0;
      dropped_q <= '0;
      bvalid_o  <= 1'b0;
    end else begin
      done_q    <= done_q + UsageW'(done_i) - UsageW'(respond && !resp_err);
      dropped_q <= dropped_q + UsageW'(beat && wlast_i && data_err) - UsageW'(respond && resp_err);
      if (free_b) bvalid_o <= respond;
    end
    if (respond) begin
      bid_o   <= resp_id;
      bresp_o <= {resp_err, 1'b0};
    end
  end
endmodule

`default_nettype wire
