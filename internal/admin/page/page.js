// Shows what the gateway tells operators, as it happens. What comes from elsewhere is
// put in as text only.
const $ = (id) => document.getElementById(id)
const silence = 40e3 // ms; the stream says something every 15 s
const refreshEvery = 10e3
const waitFor = 50 // seconds that a start or stop waits for the runtime
const kept = 100
const operations = new Map() // by id, what changed last at the end
const targets = { start: 'ready', stop: 'stopped' }
let last = 'none.0' // id of the event before; of an unknown one all is told again
let retry = 2e3
let status, changed, expected

const time = (date) => new Date(date).toLocaleString('sv-SE') // 2006-01-02 15:04:05
const seconds = (n) => (n < 120 ? `${Math.ceil(n)} s` : `${Math.round(n / 60)} min`)
const element = (tag, text, kind = '') => Object.assign(document.createElement(tag), { textContent: text, className: kind })
const set = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text }

// events yields the events of a stream as {id, event, data} (HTML, Server-sent events).
async function* events(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  for (let rest = '', event = {}; ;) {
    const { value, done } = await reader.read()
    if (done) return
    heard()
    const lines = (rest + value).split('\n')
    rest = lines.pop()
    for (const line of lines) {
      const [, field, text] = /^([^:]*):? ?(.*?)\r?$/s.exec(line)
      if (field === '' && text === '' && !line.startsWith(':')) {
        if (event.data !== undefined) yield event
        event = {}
      } else if (field === 'retry') retry = Number(text) || retry
      else if (field !== '') event[field] = field === 'data' && event.data !== undefined ? `${event.data}\n${text}` : text
    }
  }
}

async function follow() {
  for (;;) {
    const cut = new AbortController()
    let timer
    const heard = () => { clearTimeout(timer); timer = setTimeout(() => cut.abort(new Error('it was silent')), silence) }
    try {
      heard()
      const answer = await fetch('/debug/events', { headers: { 'Last-Event-ID': last }, cache: 'no-store', signal: cut.signal })
      if (!answer.ok) throw new Error(`it answered ${answer.status}`)
      set('link', 'Connected: what is shown is live.')
      document.body.classList.remove('stale')
      refresh()
      for await (const event of events(answer.body, heard)) told(event)
      throw new Error('it ended the stream')
    } catch (e) {
      if (!document.body.classList.contains('stale')) {
        document.body.classList.add('stale')
        set('link', `Not connected since ${time(Date.now())}: what is shown is of then. Trying again. (${e.message})`)
      }
    }
    clearTimeout(timer)
    await new Promise((done) => setTimeout(done, retry))
  }
}

function told({ id, event, data }) {
  if (event === 'reset') operations.clear()
  if (event === 'status') {
    const now = JSON.parse(data)
    if (now.state !== status?.state) changed = { at: Date.now(), seen: status !== undefined }
    status = now
  }
  if (event === 'operation') {
    const operation = JSON.parse(data)
    operations.delete(operation.id)
    operations.set(operation.id, operation)
    if (operations.size > kept) operations.delete(operations.keys().next().value)
    expected = operation.estimate ?? expected
  }
  if (id) last = id
  draw()
  refresh()
}

const latest = () => [...operations.values()].sort((a, b) => Date.parse(b.requested_at) - Date.parse(a.requested_at)).slice(0, 20)

function draw() {
  const list = latest()
  const reached = list.find((o) => o.reached_at && targets[o.action] === status?.state)
  set('state', status?.state ?? 'unknown')
  document.title = `${status?.state ?? 'unknown'} · VM gateway`
  $('state').classList.toggle('moving', /ing$|^maintenance$/.test(status?.state))
  set('provider', status?.provider ?? '–')
  if (changed) set('since', changed.seen ? time(changed.at) : reached ? time(reached.reached_at) : `before ${time(changed.at)}`)
  drawEstimate(list)
  $('operations').replaceChildren(...list.map(row))
  if (list.length === 0) $('operations').append(element('li', 'None yet.'))
}

function drawEstimate(list) {
  if (!expected) return
  const last = list.find((o) => o.accepted_at)
  const open = last?.action === 'start' && !last.reached_at && last.estimate ? last : undefined
  const past = open ? (Date.now() - Date.parse(open.accepted_at)) / 1e3 : 0
  const left = expected.p50_seconds - past
  const usual = `${seconds(expected.p50_seconds)}; 9 of 10 within ${seconds(expected.p90_seconds)}`
  set('estimate', !open || status?.state === 'ready' ? usual
    : `${past > expected.p90_seconds ? 'overdue' : left > 0 ? `${seconds(left)} left` : 'any moment'}; usually ${usual}`)
}

function row(o) {
  const line = document.createElement('li')
  const delivered = (o.usage ?? []).filter((record) => record.delivered_at).length
  const took = o.reached_at && o.accepted_at ? `${targets[o.action]} in ${seconds((Date.parse(o.reached_at) - Date.parse(o.accepted_at)) / 1e3)}` : ''
  line.append(
    element('strong', o.action + (o.joined ? ' (joined)' : '')),
    element('span', time(o.requested_at)),
    element('span', o.outcome ?? 'under way', o.outcome === 'accepted' ? 'good' : o.outcome ? 'bad' : ''),
    element('span', o.error?.message ?? took),
    element('span', o.usage?.length ? `usage: ${delivered} of ${o.usage.length} delivered` : 'no usage records', 'quiet'),
    element('span', `request ${o.request_id}`, 'quiet'))
  return line
}

// refresh reads what no event tells, once at a time, and once more if that was asked for.
let refreshing, again
function refresh() {
  again = true
  refreshing ??= (async () => {
    while (again) {
      again = false
      await Promise.all([drawStore(), drawReadiness()]).catch(() => {}) // follow says that nothing answers
      await new Promise((done) => setTimeout(done, 250))
    }
    refreshing = undefined
  })()
}

async function drawStore() {
  const answer = await fetch('/debug/store', { cache: 'no-store' })
  const store = await answer.json()
  if (!answer.ok) {
    $('refused').replaceChildren(element('li', `It cannot be read: ${store.error}`, 'bad'))
    return
  }
  set('waiting', String(store.waiting_records))
  set('parked', String(store.parked_records))
  set('oldest', store.oldest_record_age_seconds ? seconds(store.oldest_record_age_seconds) : 'none')
  set('damaged', store.damaged_files.join(', ') || 'none')
  $('refused').replaceChildren(...store.parked.slice(0, 20).map((p) => element('li', `${p.event_id}: ${p.reason}; again at ${time(p.retry_at)}`, 'bad')))
}

async function drawReadiness() {
  const lines = (await (await fetch('/readyz?verbose', { cache: 'no-store' })).text()).trim().split('\n')
  const show = (id, chosen, none) => $(id).replaceChildren(...(chosen.length ? chosen : [`[+] ${none}`])
    .map((line) => element('li', line.replace(/^\[\+\] /, '✓ ').replace(/^\[-\] /, '✗ '), line.startsWith('[-]') ? 'bad' : 'good')))
  show('checks', lines.filter((line) => !/^... stream /.test(line)), 'nothing to check')
  show('streams', lines.filter((line) => /^... stream /.test(line)), 'none are needed')
}

const outcomes = {
  not_sent: 'Nothing was done.', rejected: 'The runtime said no.', accepted: 'The runtime had taken it on.',
  unknown: 'It may still act: look at the state before you try again.',
}
const remedies = {
  401: 'Get a new token from the issuer and put it in.', 403: 'Get a token with the scope vm:write, of an account that may act.',
  402: 'The account needs a plan or more quota.', 409: 'Look at the state above, then decide again.',
  429: 'Wait before you try again.', 502: 'Look at the log by the request id.', 503: 'Look at readiness, then try again.',
}
let sent = {} // the last write, without an answer: sent again it is not done twice
let busy = false

async function act(action) {
  if (busy) return
  const token = $('token').value.trim().replace(/^Bearer +/i, '')
  if (token === '') {
    say('bad', 'Put in a token first.')
    $('token').focus()
    return
  }
  setBusy(true)
  say('', `${action}: waiting for the runtime, ${waitFor} s at most …`)
  if (sent.action !== action) sent = { action, key: Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('') }
  try {
    const answer = await fetch(`/api/v1/vm/${action}`, {
      method: 'POST', headers: { Authorization: `Bearer ${token}`, 'Idempotency-Key': sent.key, Prefer: `wait=${waitFor}` },
    })
    const body = await answer.json()
    if (body.error?.type !== 'operation_in_progress') sent = {}
    explain(action, answer, body)
  } catch (e) {
    say('bad', `${action}: no answer (${e.message}). It may have been done.`, 'Press the button again: it is not done twice.')
  }
  setBusy(false)
}

function explain(action, answer, { status: reached, error }) {
  if (answer.status === 200) return say('good', `${action}: the runtime is ${reached?.state ?? targets[action]}.`)
  if (answer.status === 202) return say('good', `${action}: accepted. The runtime is on its way; the state shows when it is there.`)
  if (!error) return say('bad', `${action}: refused, ${answer.status}.`)
  const wait = answer.headers.get('Retry-After')
  say('bad', `${action}: ${error.message ?? error}`, outcomes[error.outcome], remedies[answer.status],
    error.command && `Run: ${error.command}`, error.recommended_plan && `Recommended plan: ${error.recommended_plan}`,
    wait && `Try again in ${wait} s.`, error.request_id && `${answer.status} ${error.type}, request ${error.request_id}`)
}

const say = (kind, ...lines) => $('answer').replaceChildren(...lines.filter(Boolean).map((line, i) => element('p', line, i ? '' : kind)))

function setBusy(now) {
  busy = now
  for (const action of ['start', 'stop']) $(action).setAttribute('aria-disabled', now) // stays in the order of focus
}

for (const action of ['start', 'stop']) $(action).addEventListener('click', () => act(action))
setInterval(refresh, refreshEvery)
setInterval(() => drawEstimate(latest()), 1e3)
follow()
