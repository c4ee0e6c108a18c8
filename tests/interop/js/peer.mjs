// A js-libp2p peer that does what it is told: one JSON command per line in, one JSON fact per line out.
import { createInterface } from 'node:readline'

import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { byteStream } from '@libp2p/utils'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const ECHO = '/test/echo/1'
const COUNT = '/test/count/1'
const say = (fact) => process.stdout.write(JSON.stringify(fact) + '\n')
const text = (bytes) => new TextDecoder().decode(bytes)

const peer = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    gossip: gossipsub({ globalSignaturePolicy: 'StrictSign', allowPublishToZeroTopicPeers: true })
  }
})

async function readFrame (stream) {
  const header = (await stream.read({ bytes: 4 })).subarray()
  const length = new DataView(header.buffer, header.byteOffset, 4).getUint32(0)
  return length === 0 ? new Uint8Array() : (await stream.read({ bytes: length })).subarray()
}

async function writeFrame (stream, body) {
  const header = new Uint8Array(4)
  new DataView(header.buffer).setUint32(0, body.length)
  await stream.write(header)
  await stream.write(body)
}

await peer.handle(ECHO, async (stream) => {
  const bytes = byteStream(stream)
  try {
    while (true) await writeFrame(bytes, await readFrame(bytes))
  } catch { /* the other side has nothing more to ask */ }
})

peer.addEventListener('peer:identify', ({ detail }) => {
  say({ identified: detail.peerId.toString(), agent: detail.agentVersion, protocols: detail.protocols })
})
peer.services.gossip.addEventListener('message', ({ detail }) => say({ heard: text(detail.data), topic: detail.topic }))

const commands = {
  async dial ({ address }) {
    const connection = await peer.dial(multiaddr(address), { signal: AbortSignal.timeout(10000) })
    return { security: connection.encryption, muxer: connection.multiplexer }
  },
  async ping ({ address }) {
    return await peer.services.ping.ping(multiaddr(address), { signal: AbortSignal.timeout(10000) })
  },
  async ask ({ address, bodies }) {
    const stream = byteStream(await peer.dialProtocol(multiaddr(address), ECHO))
    const answers = []
    for (const body of bodies) {
      await writeFrame(stream, new TextEncoder().encode(body))
      answers.push(text(await readFrame(stream)))
    }
    return answers
  },
  async send ({ address, size }) {
    const stream = await peer.dialProtocol(multiaddr(address), COUNT)
    const bytes = byteStream(stream)
    const chunk = new Uint8Array(65536)
    for (let sent = 0; sent < size; sent += chunk.length) await bytes.write(chunk)
    await stream.close()
    return size
  },
  async subscribe ({ topic }) {
    peer.services.gossip.subscribe(topic)
    return topic
  },
  async publish ({ topic, body }) {
    const { recipients } = await peer.services.gossip.publish(topic, new TextEncoder().encode(body))
    return recipients.length
  },
  async stop () {
    await peer.stop()
    process.exit(0)
  }
}

say({ addresses: peer.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const { number, name, ...args } = JSON.parse(line)
  commands[name](args).then(
    (result) => say({ number, result }),
    (error) => say({ number, error: `${error.name}: ${error.message}` })
  )
}
