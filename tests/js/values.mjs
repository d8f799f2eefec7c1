// IPLD values as JSON that loses nothing: text, booleans, null and lists are themselves, everything else is tagged.
//
//   {"i": "-7"} integer   {"f": "3ff8000000000000"} float   {"b": "00ff"} bytes   {"l": "bafy…"} link
//   {"m": [["key", value], …]} map, in any order

import { CID } from 'multiformats/cid'

export const hex = bytes => Buffer.from(bytes).toString('hex')

export const unhex = text => new Uint8Array(Buffer.from(text, 'hex'))

export function read (json) {
  if (json === null || typeof json !== 'object') return json
  if (Array.isArray(json)) return json.map(read)
  const [[tag, content]] = Object.entries(json)
  switch (tag) {
    case 'i': return Number.isSafeInteger(Number(content)) ? Number(content) : BigInt(content)
    case 'f': return Buffer.from(content, 'hex').readDoubleBE()
    case 'b': return unhex(content)
    case 'l': return CID.parse(content)
    case 'm': return Object.fromEntries(content.map(([key, value]) => [key, read(value)]))
    default: throw new Error(`no value has the tag ${tag}`)
  }
}

export function write (value) {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return { i: String(value) }
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(8)
    bytes.writeDoubleBE(value)
    return { f: bytes.toString('hex') }
  }
  if (Array.isArray(value)) return value.map(write)
  if (value instanceof Uint8Array) return { b: hex(value) }
  const link = CID.asCID(value)
  if (link) return { l: link.toString() }
  return { m: Object.entries(value).map(([key, value]) => [key, write(value)]) }
}
