// Purpose: reads 1 to 64 words of memory with one AXI4 burst and hands them on one by one.
// Latency: the address is offered in the clock after start_i; words follow a beat by one clock.
// Throughput: one word per clock, less one clock per beat.
// Back-pressure: start_i only while busy_o is low; words are never held up.
// Notes: who started may stop listening: busy_o stays until the last beat. clr_i gives up the burst,
//        which is safe only when the other side is reset as well.

`default_nettype none

module link_mem_rd #(
    parameter int unsigned AxiBits = 256
) (
    input  wire logic               clk_i,
    input  wire logic               rst_ni,
    input  wire logic               clr_i,
    input  wire logic               start_i,
    input  wire logic [39:2]        addr_i,
    input  wire logic [6:0]         words_i,
    output logic                    busy_o,
    output logic                    done_o,
    output logic                    err_o,
    output logic                    word_valid_o,
    output logic [5:0]              word_index_o,
    output logic [31:0]             word_o,
    // AXI4
    output logic                    arvalid_o,
    input  wire logic               arready_i,
    output logic [39:0]             araddr_o,
    output logic [7:0]              arlen_o,
    input  wire logic               rvalid_i,
    output logic                    rready_o,
    input  wire logic [AxiBits-1:0] rdata_i,
    input  wire logic [1:0]         rresp_i,
    input  wire logic               rlast_i
);
  localparam int unsigned LaneW = $clog2(AxiBits / 32);
  localparam int unsigned ByteW = LaneW + 2;

  if (AxiBits != 128 && AxiBits != 256 && AxiBits != 512) begin : g_check_width
    $error("link_mem_rd: AxiBits must be 128, 256 or 512");
  end

  logic               last_q, full_q;
  logic [AxiBits-1:0] beat_q;
  logic [LaneW-1:0]   lane_q;
  logic [6:0]         left_q;
  logic [6:0]         last_lane;
  logic               take, empties;

  // Lane of the last word, counted from lane 0 of the first beat; at most 63 + 15.
  assign last_lane = 7'(addr_i[ByteW-1:2]) + words_i - 1'b1;
  assign take      = rvalid_i && rready_o;
  assign empties   = full_q && (lane_q == '1 || left_q <= 7'd1);

  always_ff @(posedge clk_i) begin
    done_o <= 1'b0;
    if (!rst_ni || clr_i) begin
      busy_o    <= 1'b0;
      arvalid_o <= 1'b0;
      rready_o  <= 1'b0;
      full_q    <= 1'b0;
    end else if (start_i) begin
      busy_o    <= 1'b1;
      arvalid_o <= 1'b1;
      rready_o  <= 1'b1;
    end else begin
      if (arready_i) arvalid_o <= 1'b0;
      if (take) begin
        rready_o <= 1'b0;
        full_q   <= 1'b1;
      end
      if (empties) begin
        full_q   <= 1'b0;
        rready_o <= !last_q;
        busy_o   <= !last_q;
        done_o   <= last_q;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      araddr_o     <= {addr_i[39:ByteW], ByteW'(0)};
      arlen_o      <= 8'(last_lane >> LaneW);
      lane_q       <= addr_i[ByteW-1:2];
      left_q       <= words_i;
      word_index_o <= '1;
      err_o        <= 1'b0;
    end else begin
      // A burst that ends early is an error as well.
      if ((take && rresp_i != '0) || (empties && last_q && left_q > 7'd1)) err_o <= 1'b1;
      if (full_q && left_q != '0) begin
        left_q       <= left_q - 1'b1;
        lane_q       <= lane_q + 1'b1;
        word_index_o <= word_index_o + 1'b1;
      end
    end
    if (take) begin
      beat_q <= rdata_i;
      last_q <= rlast_i;
    end
    word_valid_o <= full_q && left_q != '0;
    word_o       <= beat_q[32*lane_q+:32];
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && !clr_i && start_i && busy_o) $fatal(1, "link_mem_rd: a start while busy");
  end
`endif
endmodule

`default_nettype wire
