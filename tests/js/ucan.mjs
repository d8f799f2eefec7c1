// UCANs 1.0 with the npm packages of iso-ucan: reads a CAR's root as an envelope, and says whether its issuer signed it.
//
// Not with its Invocation.from, which takes no arguments with links, although they are DAG-CBOR (src/utils.js, `cborValue`).

import { CarReader } from '@ipld/car'
import { encode } from '@ipld/dag-cbor'
import { DID } from 'iso-did'
import { verifier } from 'iso-signatures/verifiers/eddsa.js'
import { Resolver } from 'iso-signatures/verifiers/resolver.js'
import { decode, getSignaturePayload } from 'iso-ucan/envelope'

import { serve } from './serve.mjs'
import { hex, unhex } from './values.mjs'

const resolver = new Resolver(verifier)

await serve(async ({ car }) => {
  const reader = await CarReader.fromBytes(unhex(car))
  const [root] = await reader.getRoots()
  const { bytes } = await reader.get(root)
  const { spec, version, alg: type, signature, payload } = decode({ envelope: bytes })
  const did = await DID.fromString(payload.iss)
  const message = encode(getSignaturePayload({ spec, version, payload, signatureType: type }))
  const verified = await resolver.verify({ signature, message, did, type })
  const { iss, sub, aud, cmd, exp, args, meta, prf } = payload
  return { spec, version, verified, iss, sub, aud, cmd, exp, args: hex(encode(args)), meta: hex(encode(meta)), prf: prf.length }
})
