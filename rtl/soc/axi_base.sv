// Purpose: host registers in front of the accelerator's: where its memory begins on the host's bus.
// Latency: two clocks more for a register access; none for addresses of memory.
// Throughput: one write and one read at a time.
// Back-pressure: AXI4-Lite on both sides.
// Notes: offsets from 0x800 on are this module's: 0x800 and 0x804 hold the base, low half first, with
//        bits 11:0 zero, so that no burst crosses 4 KiB that did not before; others read as zero. All
//        else goes to the accelerator. Write the base only while no program runs.

`default_nettype none

module axi_base #(
    parameter logic [63:0] MemBase = 64'd0  // after a reset
) (
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    output logic      [63:0] base_o,
    // From the host
    input  wire logic        awvalid_i,
    output logic             awready_o,
    input  wire logic [11:0] awaddr_i,
    input  wire logic        wvalid_i,
    output logic             wready_o,
    input  wire logic [31:0] wdata_i,
    input  wire logic [3:0]  wstrb_i,
    output logic             bvalid_o,
    input  wire logic        bready_i,
    output logic      [1:0]  bresp_o,
    input  wire logic        arvalid_i,
    output logic             arready_o,
    input  wire logic [11:0] araddr_i,
    output logic             rvalid_o,
    input  wire logic        rready_i,
    output logic      [31:0] rdata_o,
    output logic      [1:0]  rresp_o,
    // To the accelerator
    output logic             awvalid_o,
    input  wire logic        awready_i,
    output logic      [11:0] awaddr_o,
    output logic             wvalid_o,
    input  wire logic        wready_i,
    output logic      [31:0] wdata_o,
    output logic      [3:0]  wstrb_o,
    input  wire logic        bvalid_i,
    output logic             bready_o,
    input  wire logic [1:0]  bresp_i,
    output logic             arvalid_o,
    input  wire logic        arready_i,
    output logic      [11:0] araddr_o,
    input  wire logic        rvalid_i,
    output logic             rready_o,
    input  wire logic [31:0] rdata_i,
    input  wire logic [1:0]  rresp_i
);
  // ---- Writes: address and data are taken in any order, then go one way -----------------------
  logic aw_full_q, w_full_q, aw_sent_q, w_sent_q, done_q;
  logic [11:0] awaddr_q;
  logic [31:0] wdata_q;
  logic [3:0] wstrb_q;
  logic both, ours, base_we;
  logic [63:0] base_q;

  assign awready_o = !aw_full_q;
  assign wready_o  = !w_full_q;
  assign both      = aw_full_q && w_full_q;
  assign ours      = awaddr_q[11];
  assign base_we   = both && ours && !done_q && awaddr_q[10:3] == '0;
  assign awvalid_o = both && !ours && !aw_sent_q;
  assign wvalid_o  = both && !ours && !w_sent_q;
  assign awaddr_o  = awaddr_q;
  assign wdata_o   = wdata_q;
  assign wstrb_o   = wstrb_q;
  assign bvalid_o  = ours ? done_q : both && bvalid_i;
  assign bready_o  = both && !ours && bready_i;
  assign bresp_o   = ours ? 2'b00 : bresp_i;
  assign base_o    = base_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_full_q <= 1'b0;
      w_full_q  <= 1'b0;
      aw_sent_q <= 1'b0;
      w_sent_q  <= 1'b0;
      done_q    <= 1'b0;
      base_q    <= {MemBase[63:12], 12'd0};
    end else begin
      if (awvalid_i && awready_o) aw_full_q <= 1'b1;
      if (wvalid_i && wready_o) w_full_q <= 1'b1;
      if (awvalid_o && awready_i) aw_sent_q <= 1'b1;
      if (wvalid_o && wready_i) w_sent_q <= 1'b1;
      if (both && ours) done_q <= 1'b1;
      if (bvalid_o && bready_i) begin
        aw_full_q <= 1'b0;
        w_full_q  <= 1'b0;
        aw_sent_q <= 1'b0;
        w_sent_q  <= 1'b0;
        done_q    <= 1'b0;
      end
      for (int unsigned i = 0; i < 4; i++) begin
        if (base_we && wstrb_q[i] && !awaddr_q[2]) base_q[8*i+:8] <= wdata_q[8*i+:8];
        if (base_we && wstrb_q[i] && awaddr_q[2]) base_q[32+8*i+:8] <= wdata_q[8*i+:8];
      end
      base_q[11:0] <= '0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (awvalid_i && awready_o) awaddr_q <= awaddr_i;
    if (wvalid_i && wready_o) begin
      wdata_q <= wdata_i;
      wstrb_q <= wstrb_i;
    end
  end

  // ---- Reads ---------------------------------------------------------------------------------
  logic ar_full_q, ar_sent_q;
  logic [11:0] araddr_q;

  assign arready_o = !ar_full_q;
  assign arvalid_o = ar_full_q && !araddr_q[11] && !ar_sent_q;
  assign araddr_o  = araddr_q;
  assign rvalid_o  = ar_full_q && (araddr_q[11] || rvalid_i);
  assign rready_o  = ar_full_q && !araddr_q[11] && rready_i;
  assign rresp_o   = araddr_q[11] ? 2'b00 : rresp_i;

  always_comb begin
    rdata_o = rdata_i;
    if (araddr_q[11]) begin
      rdata_o = '0;
      if (araddr_q[10:2] == 9'd0) rdata_o = base_q[31:0];
      if (araddr_q[10:2] == 9'd1) rdata_o = base_q[63:32];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ar_full_q <= 1'b0;
      ar_sent_q <= 1'b0;
    end else begin
      if (arvalid_i && arready_o) ar_full_q <= 1'b1;
      if (arvalid_o && arready_i) ar_sent_q <= 1'b1;
      if (rvalid_o && rready_i) begin
        ar_full_q <= 1'b0;
        ar_sent_q <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (arvalid_i && arready_o) araddr_q <= araddr_i;
  end
endmodule

`default_nettype wire
