// Purpose: the read channels of several memory channels as one: addresses go to all, and a beat is one
//          of each side by side.
// Latency: one cycle on AR, two on R.
// Throughput: one address and one beat of every channel per cycle.
// Back-pressure: ready/valid; an address that is offered to a channel is never withdrawn. A channel
//                may be Depth beats ahead of the slowest, as long as that one refreshes.
// Notes: 64 bytes of every channel are neighbours in memory, so that all channels have the same
//        address. Not touched by the soft reset, because transfers must be completed.

`default_nettype none

module ld_channels #(
    parameter int unsigned AxiBits  = 512,
    parameter int unsigned Channels = 2,
    parameter int unsigned Depth    = 128
) (
    input  wire logic                             clk_i,
    input  wire logic                             rst_ni,
    // LD
    input  wire logic                             ld_arvalid_i,
    output logic                                  ld_arready_o,
    input  wire logic [39:0]                      ld_araddr_i,
    input  wire logic [7:0]                       ld_arlen_i,
    output logic                                  ld_rvalid_o,
    input  wire logic                             ld_rready_i,
    output logic [Channels*AxiBits-1:0]           ld_rdata_o,
    output logic [1:0]                            ld_rresp_o,
    output logic                                  ld_rlast_o,
    // Channels
    output logic [Channels-1:0]                   m_arvalid_o,
    input  wire logic [Channels-1:0]              m_arready_i,
    output logic [39:0]                           m_araddr_o,
    output logic [7:0]                            m_arlen_o,
    input  wire logic [Channels-1:0]              m_rvalid_i,
    output logic [Channels-1:0]                   m_rready_o,
    input  wire logic [Channels-1:0][AxiBits-1:0] m_rdata_i,
    input  wire logic [Channels-1:0][1:0]         m_rresp_i,
    input  wire logic [Channels-1:0]              m_rlast_i
);
  typedef struct packed {
    logic               last;
    logic               error;
    logic [AxiBits-1:0] data;
  } beat_t;

  // ------------------------------------------------------------------ addresses
  logic [Channels-1:0] arvalid_q;
  logic [39:0] araddr_q;
  logic [7:0] arlen_q;
  logic open;

  assign open         = (arvalid_q & ~m_arready_i) == '0;
  assign ld_arready_o = open;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) arvalid_q <= '0;
    else if (open) arvalid_q <= {Channels{ld_arvalid_i}};
    else arvalid_q <= arvalid_q & ~m_arready_i;
  end

  always_ff @(posedge clk_i) begin
    if (open) begin
      araddr_q <= ld_araddr_i >> $clog2(Channels);
      arlen_q  <= ld_arlen_i;
    end
  end

  assign m_arvalid_o = arvalid_q;
  assign m_araddr_o  = araddr_q;
  assign m_arlen_o   = arlen_q;

  // ------------------------------------------------------------------ beats
  beat_t [Channels-1:0] beat;
  logic [Channels-1:0] valid, error;
  logic pop, unused_beats;

  assign ld_rvalid_o  = &valid;
  assign pop          = ld_rvalid_o && ld_rready_i;
  assign ld_rresp_o   = {|error, 1'b0};
  assign ld_rlast_o   = beat[0].last;
  // All channels have the same bursts.
  assign unused_beats = ^{beat, m_rresp_i};

  for (genvar c = 0; c < Channels; c++) begin : gen_channels
    beat_t beat_in;
    logic [$clog2(Depth + 1)-1:0] free;

    assign beat_in       = '{last: m_rlast_i[c], error: m_rresp_i[c][1], data: m_rdata_i[c]};
    assign m_rready_o[c] = free != '0;
    assign error[c]      = beat[c].error;
    assign ld_rdata_o[c*AxiBits+:AxiBits] = beat[c].data;

    ram_fifo #(
        .Width($bits(beat_t)),
        .Depth(Depth)
    ) u_fifo (
        .clk_i,
        .rst_ni,
        .clr_i   (1'b0),
        .wvalid_i(m_rvalid_i[c] && m_rready_o[c]),
        .wdata_i (beat_in),
        .free_o  (free),
        .rvalid_o(valid[c]),
        .rready_i(pop),
        .rdata_o (beat[c])
    );
  end
endmodule

`default_nettype wire
