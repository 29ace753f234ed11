// Purpose: the rules of an AXI4 port: stable payloads, last beats, no answer without a question, bounds.
// Latency: none (a proof).
// Throughput: any.
// Back-pressure: any.
// Notes: per side, Assert says whether its rules are proven or assumed. All bursts are of one
//        identifier, so answers come in order. A W beat may come before its AW is taken, not before
//        it is offered: a rule of this project. R and B answer what was complete before their clock.

`default_nettype none

module axi_rules #(
    parameter int unsigned LenBits      = 8,
    parameter int unsigned AddrBits     = 40,  // with whatever else belongs to an address
    parameter int unsigned DataBits     = 8,   // with whatever else belongs to a beat of W
    parameter int unsigned AnswerBits   = 8,   // of a beat of R, with its response
    parameter int unsigned MaxReads     = 2,
    parameter int unsigned MaxWrites    = 2,
    parameter bit          AssertMaster = 1'b1,
    parameter bit          AssertSlave  = 1'b1
) (
    input wire logic                  clk_i,
    input wire logic                  rst_ni,
    input wire logic                  arvalid_i,
    input wire logic                  arready_i,
    input wire logic [LenBits-1:0]    arlen_i,
    input wire logic [AddrBits-1:0]   araddr_i,
    input wire logic                  rvalid_i,
    input wire logic                  rready_i,
    input wire logic                  rlast_i,
    input wire logic [AnswerBits-1:0] rdata_i,
    input wire logic                  awvalid_i,
    input wire logic                  awready_i,
    input wire logic [LenBits-1:0]    awlen_i,
    input wire logic [AddrBits-1:0]   awaddr_i,
    input wire logic                  wvalid_i,
    input wire logic                  wready_i,
    input wire logic                  wlast_i,
    input wire logic [DataBits-1:0]   wdata_i,
    input wire logic                  bvalid_i,
    input wire logic                  bready_i,
    input wire logic [1:0]            bresp_i
);
  localparam int unsigned ReadW = $clog2(MaxReads + 2);
  localparam int unsigned WriteW = $clog2(MaxWrites + 2);

  logic ar, r, aw, w, b, offered;
  assign ar = arvalid_i && arready_i;
  assign r  = rvalid_i && rready_i;
  assign aw = awvalid_i && awready_i;
  assign w  = wvalid_i && wready_i;
  assign b  = bvalid_i && bready_i;

  // ------------------------------------------------------------------ reads
  logic [LenBits-1:0] rlen, rbeat_q;
  logic [ReadW-1:0] reads;

  fv_queue #(
      .Width(LenBits),
      .Depth(MaxReads)
  ) u_reads (
      .clk_i,
      .rst_ni,
      .push_i (ar),
      .data_i (arlen_i),
      .pop_i  (r && rlast_i),
      .head_o (rlen),
      .count_o(reads)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) rbeat_q <= '0;
    else if (r) rbeat_q <= rlast_i ? '0 : rbeat_q + 1'b1;
  end

  // ------------------------------------------------------------------ writes
  // Addresses from their offer to their last beat; accepted addresses and sent bursts to their answer.
  logic aw_waits_q;
  logic [LenBits-1:0] wlen_head, wlen, wbeat_q;
  logic [WriteW-1:0] open, taken_q, sent_q;

  always_ff @(posedge clk_i) aw_waits_q <= rst_ni && awvalid_i && !awready_i;
  assign offered = awvalid_i && !aw_waits_q;

  fv_queue #(
      .Width(LenBits),
      .Depth(MaxWrites)
  ) u_writes (
      .clk_i,
      .rst_ni,
      .push_i (offered),
      .data_i (awlen_i),
      .pop_i  (w && wlast_i),
      .head_o (wlen_head),
      .count_o(open)
  );
  assign wlen = open == '0 ? awlen_i : wlen_head;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wbeat_q <= '0;
      taken_q <= '0;
      sent_q  <= '0;
    end else begin
      if (w) wbeat_q <= wlast_i ? '0 : wbeat_q + 1'b1;
      taken_q <= taken_q + WriteW'(aw) - WriteW'(b);
      sent_q  <= sent_q + WriteW'(w && wlast_i) - WriteW'(b);
    end
  end

  // ------------------------------------------------------------------ rules of the master
  logic few_reads, few_writes, w_in_order, w_last;
  assign few_reads  = !rst_ni || !arvalid_i || 32'(reads) < MaxReads;
  assign few_writes = !rst_ni || !awvalid_i || 32'(taken_q) < MaxWrites;
  assign w_in_order = !rst_ni || !wvalid_i || open != '0 || offered;
  assign w_last     = !rst_ni || !wvalid_i || wlast_i == (wbeat_q == wlen);

  fv_stable #(
      .Width (LenBits + AddrBits),
      .Assert(AssertMaster)
  ) u_ar (
      .clk_i,
      .rst_ni,
      .valid_i  (arvalid_i),
      .ready_i  (arready_i),
      .payload_i({arlen_i, araddr_i})
  );
  fv_stable #(
      .Width (LenBits + AddrBits),
      .Assert(AssertMaster)
  ) u_aw (
      .clk_i,
      .rst_ni,
      .valid_i  (awvalid_i),
      .ready_i  (awready_i),
      .payload_i({awlen_i, awaddr_i})
  );
  fv_stable #(
      .Width (1 + DataBits),
      .Assert(AssertMaster)
  ) u_w (
      .clk_i,
      .rst_ni,
      .valid_i  (wvalid_i),
      .ready_i  (wready_i),
      .payload_i({wlast_i, wdata_i})
  );

  if (AssertMaster) begin : g_assert_master
    always_comb begin
      a_few_reads: assert (few_reads);
      a_few_writes: assert (few_writes);
      a_w_in_order: assert (w_in_order);
      a_w_last: assert (w_last);
    end
  end else begin : g_assume_master
    always_comb begin
      m_few_reads: assume (few_reads);
      m_few_writes: assume (few_writes);
      m_w_in_order: assume (w_in_order);
      m_w_last: assume (w_last);
    end
  end

  // ------------------------------------------------------------------ rules of the slave
  logic r_asked, r_last, b_asked;
  assign r_asked = !rst_ni || !rvalid_i || reads != '0;
  assign r_last  = !rst_ni || !rvalid_i || rlast_i == (rbeat_q == rlen);
  assign b_asked = !rst_ni || !bvalid_i || (taken_q != '0 && sent_q != '0);

  fv_stable #(
      .Width (1 + AnswerBits),
      .Assert(AssertSlave)
  ) u_r (
      .clk_i,
      .rst_ni,
      .valid_i  (rvalid_i),
      .ready_i  (rready_i),
      .payload_i({rlast_i, rdata_i})
  );
  fv_stable #(
      .Width (2),
      .Assert(AssertSlave)
  ) u_b (
      .clk_i,
      .rst_ni,
      .valid_i  (bvalid_i),
      .ready_i  (bready_i),
      .payload_i(bresp_i)
  );

  if (AssertSlave) begin : g_assert_slave
    always_comb begin
      a_r_asked: assert (r_asked);
      a_r_last: assert (r_last);
      a_b_asked: assert (b_asked);
    end
  end else begin : g_assume_slave
    always_comb begin
      m_r_asked: assume (r_asked);
      m_r_last: assume (r_last);
      m_b_asked: assume (b_asked);
    end
  end
endmodule

`default_nettype wire
