// Starts the runtime and waits until it is ready.
import { randomUUID } from 'node:crypto'

const headers = { Authorization: `Bearer ${process.env.TOKEN}`, Prefer: 'wait=50', 'Idempotency-Key': randomUUID() }
let answer
do { // not yet: wait again, under the same key, which starts it once
  answer = await fetch(`${process.env.VM_URL}/api/v1/vm/start`, { method: 'POST', headers, signal: AbortSignal.timeout(120_000) })
} while (answer.status === 202)
const { status, error } = await answer.json()
if (error) {
  console.error(`${answer.status} ${error.type}: ${error.message} outcome: ${error.outcome}, request ${error.request_id}`)
  process.exit(1)
}
console.log(status.state)
