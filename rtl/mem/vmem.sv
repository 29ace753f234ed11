// Purpose: vector memory: lines of SfuLanes words with arbitrated ports.
// Latency: read data (and the word of rdv) in the cycle after the grant.
// Throughput: one line read and one line (masked) written a cycle.
// Back-pressure: fixed priority. Reads: SFU, ST, RDV. Writes: MM (always granted), SFU, LD.
// Notes: the trace shows the write of this cycle; units are numbered as in lampyris_isa_pkg.

`default_nettype none

module vmem #(
    parameter int unsigned SfuLanes  = 8,
    parameter int unsigned VmemWords = 131072,
    localparam int unsigned LineAw   = $clog2(VmemWords / SfuLanes),
    localparam int unsigned LineBits = 32 * SfuLanes
) (
    input  wire logic                 clk_i,
    input  wire logic                 rst_ni,
    input  wire logic                 sfu_vrd_valid_i,
    input  wire logic [LineAw-1:0]    sfu_vrd_line_i,
    output logic                      sfu_vrd_ready_o,
    input  wire logic                 st_vrd_valid_i,
    input  wire logic [LineAw-1:0]    st_vrd_line_i,
    output logic                      st_vrd_ready_o,
    output logic [LineBits-1:0]       vrd_data_o,
    input  wire logic                 rdv_valid_i,
    input  wire logic [17:0]          rdv_addr_i,
    output logic                      rdv_ready_o,
    output logic [31:0]               rdv_data_o,
    input  wire logic                 mm_vwr_valid_i,
    input  wire logic [LineAw-1:0]    mm_vwr_line_i,
    input  wire logic [SfuLanes-1:0]  mm_vwr_mask_i,
    input  wire logic [LineBits-1:0]  mm_vwr_data_i,
    output logic                      mm_vwr_ready_o,
    input  wire logic                 sfu_vwr_valid_i,
    input  wire logic [LineAw-1:0]    sfu_vwr_line_i,
    input  wire logic [SfuLanes-1:0]  sfu_vwr_mask_i,
    input  wire logic [LineBits-1:0]  sfu_vwr_data_i,
    output logic                      sfu_vwr_ready_o,
    input  wire logic                 ld_vwr_valid_i,
    input  wire logic [LineAw-1:0]    ld_vwr_line_i,
    input  wire logic [SfuLanes-1:0]  ld_vwr_mask_i,
    input  wire logic [LineBits-1:0]  ld_vwr_data_i,
    output logic                      ld_vwr_ready_o,
    output logic                      trace_valid_o,
    output logic [1:0]                trace_unit_o,
    output logic [LineAw-1:0]         trace_line_o,
    output logic [SfuLanes-1:0]       trace_mask_o,
    output logic [LineBits-1:0]       trace_data_o
);
  localparam int unsigned LaneW = $clog2(SfuLanes);

  logic                we, re;
  logic [LineAw-1:0]   waddr, raddr;
  logic [SfuLanes-1:0] wmask;
  logic [LineBits-1:0] wdata;
  logic [1:0]          writer;
  logic [LaneW-1:0]    rdv_word_q;
  logic                unused_rdv_addr;

  assign sfu_vrd_ready_o = 1'b1;
  assign st_vrd_ready_o  = !sfu_vrd_valid_i;
  assign rdv_ready_o     = !sfu_vrd_valid_i && !st_vrd_valid_i;
  assign mm_vwr_ready_o  = 1'b1;
  assign sfu_vwr_ready_o = !mm_vwr_valid_i;
  assign ld_vwr_ready_o  = !mm_vwr_valid_i && !sfu_vwr_valid_i;

  assign re = sfu_vrd_valid_i || st_vrd_valid_i || rdv_valid_i;

  always_comb begin
    if (sfu_vrd_valid_i) raddr = sfu_vrd_line_i;
    else if (st_vrd_valid_i) raddr = st_vrd_line_i;
    else raddr = rdv_addr_i[LaneW+:LineAw];
  end

  // No write during reset: requests are undefined then.
  assign we = rst_ni && (mm_vwr_valid_i || sfu_vwr_valid_i || ld_vwr_valid_i);

  always_comb begin
    if (mm_vwr_valid_i) begin
      writer = 2'(lampyris_isa_pkg::UnitMm);
      waddr  = mm_vwr_line_i;
      wmask  = mm_vwr_mask_i;
      wdata  = mm_vwr_data_i;
    end else if (sfu_vwr_valid_i) begin
      writer = 2'(lampyris_isa_pkg::UnitSfu);
      waddr  = sfu_vwr_line_i;
      wmask  = sfu_vwr_mask_i;
      wdata  = sfu_vwr_data_i;
    end else begin
      writer = 2'(lampyris_isa_pkg::UnitLd);
      waddr  = ld_vwr_line_i;
      wmask  = ld_vwr_mask_i;
      wdata  = ld_vwr_data_i;
    end
  end

  prim_ram_1r1w #(
      .Width    (LineBits),
      .Depth    (VmemWords / SfuLanes),
      .MaskWidth(32)
  ) u_ram (
      .clk_i,
      .we_i   (we),
      .waddr_i(waddr),
      .wmask_i(wmask),
      .wdata_i(wdata),
      .re_i   (re),
      .raddr_i(raddr),
      .rdata_o(vrd_data_o)
  );

  always_ff @(posedge clk_i) begin
    if (rdv_valid_i) rdv_word_q <= rdv_addr_i[LaneW-1:0];
  end

  assign rdv_data_o      = vrd_data_o[32*rdv_word_q+:32];
  assign unused_rdv_addr = ^rdv_addr_i;

  assign trace_valid_o = we;
  assign trace_unit_o  = writer;
  assign trace_line_o  = waddr;
  assign trace_mask_o  = wmask;
  assign trace_data_o  = wdata;
endmodule

`default_nettype wire
