// Starts the runtime and waits until it is ready.
import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'

const { VM_URL, TOKEN } = process.env
const fail = (why) => { console.error(why); process.exit(1) }
if (!VM_URL || !TOKEN) fail('set VM_URL and TOKEN')

const headers = { Authorization: `Bearer ${TOKEN}`, Prefer: 'wait=50', 'Idempotency-Key': randomUUID() }
const start = () => fetch(`${VM_URL}/api/v1/vm/start`, { method: 'POST', headers, signal: AbortSignal.timeout(120_000) })
  .catch((e) => fail(`${VM_URL}: ${e.cause ?? e}`))
let answer
while ((answer = await start()).status === 202) { // not yet: ask again, under the same key, which starts it once
  await setTimeout(1000 * (answer.headers.get('Retry-After') ?? 1))
}
const text = await answer.text()
if (!answer.ok) fail(`${answer.status} ${text}`)
console.log(JSON.parse(text).status.state)
