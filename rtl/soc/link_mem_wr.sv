// Purpose: writes 1 to 64 words to memory with one AXI4 burst; fetches them from the request's slot.
// Latency: address and first beat are offered a few clocks after start_i.
// Throughput: one word per two clocks.
// Back-pressure: start_i only while busy_o is low.
// Notes: after abort_i the rest of the burst is sent without strobes; busy_o stays until the
//        response. clr_i gives up the burst, which is safe only when the other side is reset as well.

`default_nettype none

module link_mem_wr #(
    parameter int unsigned AxiBits = 256
) (
    input  wire logic               clk_i,
    input  wire logic               rst_ni,
    input  wire logic               clr_i,
    input  wire logic               start_i,
    input  wire logic [39:2]        addr_i,
    input  wire logic [6:0]         words_i,
    input  wire logic               abort_i,
    output logic                    busy_o,
    output logic                    done_o,
    output logic                    err_o,
    // Payload: the word comes one clock after its index.
    output logic                    fetch_o,
    output logic [5:0]              index_o,
    input  wire logic [31:0]        word_i,
    // AXI4
    output logic                    awvalid_o,
    input  wire logic               awready_i,
    output logic [39:0]             awaddr_o,
    output logic [7:0]              awlen_o,
    output logic                    wvalid_o,
    input  wire logic               wready_i,
    output logic [AxiBits-1:0]      wdata_o,
    output logic [AxiBits/8-1:0]    wstrb_o,
    output logic                    wlast_o,
    input  wire logic               bvalid_i,
    output logic                    bready_o,
    input  wire logic [1:0]         bresp_i
);
  localparam int unsigned LaneW = $clog2(AxiBits / 32);
  localparam int unsigned ByteW = LaneW + 2;

  if (AxiBits != 128 && AxiBits != 256 && AxiBits != 512) begin : g_check_width
    $error("link_mem_wr: AxiBits must be 128, 256 or 512");
  end

  typedef enum logic [2:0] {StIdle, StFetch, StPlace, StSend, StResponse} state_e;
  state_e state_q;

  logic             drop_q;
  logic [LaneW-1:0] lane_q;
  logic [6:0]       left_q;
  logic [6:0]       last_lane;
  logic             last_word;

  // Lane of the last word, counted from lane 0 of the first beat; at most 63 + 15.
  assign last_lane = 7'(addr_i[ByteW-1:2]) + words_i - 1'b1;
  assign last_word = left_q == 7'd1;
  assign fetch_o   = state_q == StFetch;
  assign busy_o    = state_q != StIdle;

  always_ff @(posedge clk_i) begin
    done_o <= 1'b0;
    if (!rst_ni || clr_i) begin
      state_q   <= StIdle;
      awvalid_o <= 1'b0;
      wvalid_o  <= 1'b0;
      bready_o  <= 1'b0;
    end else begin
      if (awready_i) awvalid_o <= 1'b0;
      unique case (state_q)
        StIdle: begin
          if (start_i) begin
            state_q   <= StFetch;
            awvalid_o <= 1'b1;
          end
        end
        StFetch: state_q <= StPlace;
        StPlace: begin
          state_q <= StFetch;
          if (last_word || lane_q == '1) begin
            state_q  <= StSend;
            wvalid_o <= 1'b1;
          end
        end
        StSend: begin
          if (wready_i) begin
            wvalid_o <= 1'b0;
            state_q  <= wlast_o ? StResponse : StFetch;
            bready_o <= wlast_o;
          end
        end
        default: begin
          if (bvalid_i) begin
            bready_o <= 1'b0;
            state_q  <= StIdle;
            done_o   <= 1'b1;
          end
        end
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (abort_i) drop_q <= 1'b1;
    unique case (state_q)
      StIdle: begin
        if (start_i) begin
          awaddr_o <= {addr_i[39:ByteW], ByteW'(0)};
          awlen_o  <= 8'(last_lane >> LaneW);
          lane_q   <= addr_i[ByteW-1:2];
          left_q   <= words_i;
          index_o  <= '0;
          wstrb_o  <= '0;
          drop_q   <= 1'b0;
        end
      end
      StPlace: begin
        wdata_o[32*lane_q+:32] <= word_i;
        // Words that come after an abort are not those of this request.
        if (!drop_q) wstrb_o[4*lane_q+:4] <= '1;
        wlast_o <= last_word;
        lane_q  <= lane_q + 1'b1;
        left_q  <= left_q - 1'b1;
        index_o <= index_o + 1'b1;
      end
      StSend: if (wready_i) wstrb_o <= '0;
      StResponse: if (bvalid_i) err_o <= bresp_i != '0;
      default: ;
    endcase
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && !clr_i && start_i && busy_o) $fatal(1, "link_mem_wr: a start while busy");
  end
`endif
endmodule

`default_nettype wire
