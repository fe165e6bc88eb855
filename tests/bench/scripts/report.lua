-- Prints one line for the driver: requests, time (µs), replies of 400 and
-- above, what failed, p50, p99, p99.9 (µs).
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("bench %d %d %d %d %d %d %d\n",
    summary.requests, summary.duration, e.status,
    e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
