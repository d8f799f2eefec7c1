// Encodes keys with the npm package charwise, and tells which of them its own decoder gives back.

import { isDeepStrictEqual } from 'node:util'

import charwise from 'charwise'

import { serve } from './serve.mjs'
import { read } from './values.mjs'

await serve(({ encode, sort }) => {
  if (encode !== undefined) {
    const key = plus(read(encode))
    const encoded = charwise.encode(key)
    return { encoded, back: comesBack(key, encoded) }
  }
  if (sort) return { order: order(sort.map(read)) }
  throw new Error('expected {encode: key} or {sort: [key, …]}')
})

function comesBack (key, encoded) {
  try {
    return isDeepStrictEqual(plus(charwise.decode(encoded)), key)
  } catch {
    return false
  }
}

// −0 is 0, in lists as well.
function plus (key) {
  if (Array.isArray(key)) return key.map(plus)
  return Object.is(key, -0) ? 0 : key
}

// The places of the keys in the order of a level database, which compares UTF-8 bytes.
function order (keys) {
  const encoded = keys.map((key, place) => [Buffer.from(charwise.encode(key)), place])
  return encoded.sort(([a, i], [b, j]) => Buffer.compare(a, b) || i - j).map(([, place]) => place)
}
