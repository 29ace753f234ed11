// Purpose: instruction queues of the four units, semaphore waits at their heads and posts at
//          retirement.
// Latency: 2 cycles from dispatch to the unit.
// Throughput: one instruction per unit and cycle.
// Back-pressure: disp_ready_o falls when a queue is full; an issued descriptor is held until taken.
// Notes: at most InFlight instructions of a unit are issued and not retired.

`default_nettype none

module issue
  import lampyris_pkg::desc_t;
#(
    parameter int unsigned QueueDepth = 8
) (
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    input  wire logic        clr_i,
    // From the sequencer.
    input  wire logic [3:0]  disp_valid_i,
    output logic [3:0]       disp_ready_o,
    input  wire desc_t       disp_desc_i,
    output logic [3:0]       idle_o,
    // To and from the units.
    output logic [3:0]       desc_valid_o,
    input  wire logic [3:0]  desc_ready_i,
    output desc_t [3:0]      desc_o,
    input  wire logic [3:0]  done_i,
    // Unit u has nothing to do because a semaphore is missing.
    output logic [3:0]       waiting_o
);
  localparam int unsigned InFlight = 32;
  localparam int unsigned DescBits = $bits(desc_t);

  logic [3:0]       want, grant, full;
  logic [3:0][3:0]  wait_mask, post_mask;

  lp_scoreboard u_scoreboard (
      .clk_i,
      .rst_ni,
      .clr_i,
      .want_i     (want),
      .wait_i     (wait_mask),
      .grant_o    (grant),
      .post_i     (done_i),
      .post_mask_i(post_mask)
  );

  for (genvar u = 0; u < 4; u++) begin : gen_unit
    desc_t      head, out_q;
    logic       head_valid, out_valid_q, out_free, mask_ready, mask_valid;
    logic [7:0] active_q;
    /* verilator lint_off UNUSEDSIGNAL */
    logic [$clog2(QueueDepth+1)-1:0] queue_usage;
    logic [$clog2(InFlight+1)-1:0]   posts_usage;
    /* verilator lint_on UNUSEDSIGNAL */

    prim_fifo #(
        .Width(DescBits),
        .Depth(QueueDepth)
    ) u_queue (
        .clk_i,
        .rst_ni,
        .clr_i,
        .wvalid_i(disp_valid_i[u]),
        .wready_o(disp_ready_o[u]),
        .wdata_i (disp_desc_i),
        .rvalid_o(head_valid),
        .rready_i(grant[u]),
        .rdata_o (head),
        .usage_o (queue_usage)
    );

    // Units retire in order, so the post masks of issued instructions wait in order, too.
    prim_fifo #(
        .Width(4),
        .Depth(InFlight)
    ) u_posts (
        .clk_i,
        .rst_ni,
        .clr_i,
        .wvalid_i(grant[u]),
        .wready_o(mask_ready),
        .wdata_i (head.insn[15:12]),
        .rvalid_o(mask_valid),
        .rready_i(done_i[u]),
        .rdata_o (post_mask[u]),
        .usage_o (posts_usage)
    );

    assign out_free        = !out_valid_q || desc_ready_i[u];
    assign want[u]         = head_valid && out_free && mask_ready;
    assign wait_mask[u]    = head.insn[11:8];
    assign desc_valid_o[u] = out_valid_q;
    assign desc_o[u]       = out_q;
    assign waiting_o[u]    = want[u] && !grant[u] && !mask_valid;
    assign full[u]         = !disp_ready_o[u];
    assign idle_o[u]       = active_q == '0;

    always_ff @(posedge clk_i) begin
      if (grant[u]) out_q <= head;
    end

    always_ff @(posedge clk_i) begin
      if (!rst_ni || clr_i) begin
        out_valid_q <= 1'b0;
        active_q    <= '0;
      end else begin
        if (out_free) out_valid_q <= grant[u];
        // Dispatched and not retired.
        active_q <= active_q + 8'(disp_valid_i[u] && !full[u]) - 8'(done_i[u]);
      end
    end

`ifndef SYNTHESIS
    always_ff @(posedge clk_i) begin
      if (rst_ni && !clr_i && done_i[u] && !mask_valid) begin
        $fatal(1, "issue: unit %0d retired an instruction that was not issued", u);
      end
    end
`endif
  end
endmodule

`default_nettype wire
