// UCANs 0.9.1 with the npm packages of w3up: writes CARs with @ucanto/core, judges them with @ucanto/validator, and reads
// receipts.

import { isDeepStrictEqual } from 'node:util'

import { CAR, CBOR, Delegation, Message, Receipt, delegate } from '@ucanto/core'
import { Verifier } from '@ucanto/principal'
import { request } from '@ucanto/transport/car'
import { Schema, access, capability } from '@ucanto/validator'
import { base64 } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'

import { serve } from './serve.mjs'
import { cases, people } from './ucanto-cases.mjs'
import { hex, unhex } from './values.mjs'

// Time stands still, so that the same bytes are written each time.
const NOW = 1700000000
Date.now = () => NOW * 1000

const commands = {
  // The CARs that the tests of `core` read, each with what ucanto's own validator says of it.
  async cases () {
    const keys = Object.entries(await people()).map(([name, signer]) => [name, signer.did()])
    const all = []
    for (const { name, root = 'archive', invocation, damage, judge, ...rest } of await cases(NOW)) {
      const ucanto = judge === false || damage || Array.isArray(invocation) ? null : await verdict(invocation)
      const car = (damage ?? (car => car))(await pack(root, invocation))
      all.push({ name, ...rest, ucanto, cid: invocation.cid?.toString(), car: base64.encode(car) })
    }
    return { now: NOW, keys: Object.fromEntries(keys), cases: all }
  },

  // An invocation with any caveats and facts (DAG-CBOR), signed by the bucket itself.
  async sign ({ nb, facts, nonce }) {
    const { bucket } = await people()
    const invocation = await delegate({
      issuer: bucket,
      audience: bucket,
      capabilities: [{ can: 'kv/put', with: bucket.did(), nb: CBOR.decode(unhex(nb)) }],
      facts: CBOR.decode(unhex(facts)),
      nonce,
      expiration: Infinity
    })
    return { car: hex(await pack('archive', invocation)) }
  },

  // What ucanto reads in a message with a receipt, and whether it takes its issuer's signature.
  async receipt ({ car, ran }) {
    const { roots, blocks } = CAR.decode(unhex(car))
    const message = Message.view({ root: roots[0].cid, store: blocks })
    const receipt = message.get(CID.parse(ran))
    const { ok } = await receipt.verifySignature(Verifier.parse(receipt.issuer.did()))
    return {
      verified: ok !== undefined,
      issuer: receipt.issuer.did(),
      ran: receipt.ran.link().toString(),
      fork: receipt.fx.fork.length,
      out: hex(CBOR.encode(receipt.out)),
      meta: hex(CBOR.encode(receipt.meta))
    }
  },

  // A receipt that ucanto writes itself, of the service.
  async issue ({ ran, out, meta }) {
    const { service: issuer } = await people()
    const [result, more] = [out, meta].map(value => CBOR.decode(unhex(value)))
    const receipt = await Receipt.issue({ issuer, ran: CID.parse(ran), result, meta: more })
    return { issuer: issuer.did(), block: hex(receipt.root.bytes) }
  }
}

await serve(({ command, ...args }) => commands[command](args))

// The three roots that CARs with invocations have.
async function pack (root, invocation) {
  switch (root) {
    case 'archive': return (await Delegation.archive(invocation)).ok
    case 'ucan': {
      const blocks = new Map([...invocation.export()].map(block => [`${block.cid}`, block]))
      return CAR.encode({ roots: [invocation.root], blocks })
    }
    case 'message': {
      const invocations = [invocation].flat().map(view => ({ buildIPLDView: () => view }))
      return (await request.encode(await Message.build({ invocations }))).body
    }
    default: throw new Error(`no CAR has the root ${root}`)
  }
}

// Whether ucanto would let a service run it. Whom it is addressed to is not the validator's to ask.
async function verdict (invocation) {
  const { service } = await people()
  const put = capability({
    can: invocation.capabilities[0].can,
    with: Schema.did(),
    nb: Schema.unknown(),
    derives
  })
  const { ok } = await access(invocation, {
    capability: put,
    authority: service.verifier,
    principal: Verifier,
    validateAuthorization: () => ({ ok: {} })
  })
  return ok !== undefined
}

// ucanto leaves to each capability how its caveats narrow. Ours: each that a proof names stays as it is.
function derives (claimed, delegated) {
  if (claimed.with !== delegated.with) return Schema.error(`${claimed.with} is not ${delegated.with}`)
  for (const [name, value] of Object.entries(delegated.nb ?? {})) {
    if (!isDeepStrictEqual(value, claimed.nb[name])) return Schema.error(`${name} differs`)
  }
  return { ok: {} }
}
