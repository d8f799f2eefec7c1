// Invocations for a bucket, good and bad, made by @ucanto/core. `refused` is what the machine says; none when it accepts.
// `stricter` marks what ucanto's validator accepts nevertheless, `judge: false` what it can't judge.

import { p256 } from '@noble/curves/nist'
import { secp256k1 } from '@noble/curves/secp256k1'
import { CAR, CBOR, DAG, DID, Delegation, Signature, delegate, sha256 } from '@ucanto/core'
import { Absentee, ed25519 } from '@ucanto/principal'

const seed = n => new Uint8Array(32).fill(n)

// Each with a key that is known to all.
export async function people () {
  const [bucket, service, alice, bob, mallory] =
    await Promise.all([1, 2, 3, 4, 5].map(n => ed25519.derive(seed(n))))
  return { bucket, service, alice, bob, mallory, koblitz: ecdsa('ES256K', seed(6)), nist: ecdsa('ES256', seed(7)) }
}

// Signers that @ucanto/principal doesn't have, but @ipld/dag-ucan knows.
function ecdsa (signatureAlgorithm, secret) {
  const [curve, code] = signatureAlgorithm === 'ES256' ? [p256, [0x80, 0x24]] : [secp256k1, [0xe7, 0x01]]
  const did = DID.decode(new Uint8Array([...code, ...curve.getPublicKey(secret, true)])).did()
  return {
    did: () => did,
    signatureAlgorithm,
    signatureCode: Signature[signatureAlgorithm],
    sign: async bytes => {
      const { digest } = await sha256.digest(bytes)
      return Signature.createNamed(signatureAlgorithm, curve.sign(digest, secret, { lowS: true }).toCompactRawBytes())
    }
  }
}

export async function cases (now) {
  const { bucket, service, alice, bob, mallory, koblitz, nist } = await people()
  const did = bucket.did()

  const put = { can: 'kv/put', with: did }
  const nb = { key: 'a', value: 1 }
  const give = (issuer, audience, rest = {}, capability = put) =>
    delegate({ issuer, audience, capabilities: [capability].flat(), expiration: Infinity, ...rest })
  const invoke = (issuer, proofs, rest = {}, capability = { ...put, nb }) =>
    delegate({ issuer, audience: service, capabilities: [capability].flat(), expiration: Infinity, proofs, ...rest })

  const toAlice = await give(bucket, alice)
  const aliceToBob = await give(alice, bob, { proofs: [toAlice] })
  const self = await invoke(bucket, [], { audience: bucket })
  const one = await invoke(alice, [toAlice])
  const two = await invoke(bob, [aliceToBob])

  const with1 = async (capability, rest) => await invoke(alice, [await give(bucket, alice, rest, capability)])
  const photo = await block(new Uint8Array(100).fill(7))
  const tied = await give(bucket, alice, {}, { ...put, nb: { key: 'a', deep: { list: [1, photo.cid] } } })
  const deep = { key: 'a', value: 1, deep: { list: [1, photo.cid] } }
  const byNist = await give(nist, bob, { proofs: [await give(bucket, nist)] })
  const late = await give(bucket, alice, { expiration: now })
  const attested = await give(mallory, alice, {}, { can: 'ucan/attest', with: mallory.did(), nb: { proof: toAlice.cid } })
  const absent = await give(Absentee.from({ id: 'did:mailto:example.com:al' }), alice, {}, { can: '*', with: 'ucan:*' })

  return [
    { name: 'self', invocation: self },
    { name: 'self, root is the UCAN', root: 'ucan', invocation: self },
    { name: 'self, root is a message', root: 'message', invocation: self },
    { name: 'one proof', invocation: one },
    { name: 'one proof, root is the UCAN', root: 'ucan', invocation: one },
    { name: 'one proof, root is a message', root: 'message', invocation: one },
    { name: 'two proofs', invocation: two },
    { name: 'without caveats', invocation: await invoke(alice, [toAlice], {}, put) },
    { name: 'nonce and facts', invocation: await invoke(alice, [toAlice], { nonce: 'Füße', facts: [{ b: 1, a: photo.cid }] }) },
    { name: 'attached block', invocation: await attach(await invoke(bucket, [], {}, { ...put, nb: { key: 'a', value: photo.cid } }), photo) },
    { name: 'secp256k1', invocation: await invoke(koblitz, [await give(bucket, koblitz)]), judge: false },
    { name: 'P-256', invocation: await invoke(nist, [await give(bucket, nist)]), judge: false },
    { name: 'P-256, by two', invocation: await invoke(bob, [byNist]), judge: false },
    { name: 'P-256, by two, with the greater s', invocation: await invoke(bob, [await forge(byNist, { s: greater(byNist.data.signature) })]), judge: false },

    { name: 'all of kv', invocation: await with1({ ...put, can: 'kv/*' }) },
    { name: 'all', invocation: await with1({ ...put, can: '*' }) },
    { name: 'all that the bucket has', invocation: await with1({ can: '*', with: 'ucan:*' }) },
    {
      name: 'all that Alice has',
      invocation: await invoke(bob, [await give(alice, bob, { proofs: [toAlice] }, { can: 'kv/*', with: 'ucan:*' })])
    },
    { name: 'the second of two capabilities', invocation: await with1([{ ...put, can: 'kv/get' }, put]) },
    { name: 'caveats kept', invocation: await invoke(alice, [tied], {}, { ...put, nb: deep }) },
    {
      name: 'caveats kept over two proofs',
      invocation: await invoke(bob, [await give(alice, bob, { proofs: [tied] }, { ...put, nb: { value: 1 } })], {}, { ...put, nb: deep })
    },
    { name: 'not yet expired', invocation: await invoke(alice, [await give(bucket, alice, { expiration: now + 1 })], { expiration: now + 1 }) },
    { name: 'just begun', invocation: await invoke(alice, [await give(bucket, alice, { notBefore: now - 1 })], { notBefore: now - 1 }) },

    { name: 'the good one of many proofs', invocation: await invoke(alice, [absent, attested, late, await give(bucket, bob), await give(bucket, alice, {}, { ...put, can: 'kv/get' }), toAlice]) },
    { name: 'two ways, one expired', invocation: await invoke(bob, [await give(alice, bob, { proofs: [late, toAlice] })]) },
    { name: 'a ladder with two ways at each step', invocation: await ladder(7, true) },

    { name: 'expired', invocation: await invoke(bucket, [], { expiration: now }), refused: 'expired at 1699999999' },
    { name: 'not yet begun', invocation: await invoke(bucket, [], { notBefore: now }), refused: 'valid from 1700000001' },
    { name: 'proof expired', invocation: await invoke(alice, [late]), refused: 'expired at 1699999999' },
    { name: 'proof not yet begun', invocation: await with1(put, { notBefore: now }), refused: 'valid from 1700000001' },
    { name: 'the ladder, broken at the top', invocation: await ladder(7, false), refused: 'no chain' },
    { name: 'a ladder too long', invocation: await ladder(8, true), refused: 'at most 8', stricter: true },
    { name: 'wrong audience', invocation: await invoke(bucket, [], { audience: mallory }), refused: 'audience', stricter: true },
    { name: 'proof for another', invocation: await invoke(alice, [await give(bucket, bob)]), refused: 'expected the audience' },
    { name: 'no proof', invocation: await invoke(alice, []), refused: 'no chain' },
    { name: 'proof left out', invocation: await invoke(alice, [toAlice.cid]), refused: 'of the same CAR' },
    { name: 'proof by another', invocation: await invoke(alice, [await give(mallory, alice)]), refused: 'no chain' },
    { name: 'another ability', invocation: await with1({ ...put, can: 'kv/get' }), refused: 'covers' },
    { name: 'a prefix that is none', invocation: await with1({ ...put, can: 'k/*' }), refused: 'covers' },
    { name: 'another resource', invocation: await with1({ ...put, with: mallory.did() }), refused: 'covers' },
    { name: 'caveat widened', invocation: await with1({ ...put, nb: { key: 'b' } }), refused: 'covers' },
    { name: 'caveat dropped', invocation: await with1({ ...put, nb: { key: 'a', value: 1, only: true } }), refused: 'covers' },
    { name: 'caveat widened deep down', invocation: await invoke(alice, [tied], {}, { ...put, nb: { ...deep, deep: { list: [2, photo.cid] } } }), refused: 'covers' },
    { name: 'the session of an account', invocation: await invoke(alice, [absent, attested]), refused: 'got 80a003' },

    { name: 'signed by another', invocation: await forge(self, { s: (await invoke(mallory, [])).data.signature }), refused: 'signature' },
    { name: 'caveats changed', invocation: await forge(self, { att: [{ ...put, nb: { key: 'b', value: 1 } }] }), refused: 'signature' },
    {
      name: 'proof changed',
      invocation: await invoke(alice, [await forge(await give(bucket, alice, {}, { ...put, can: 'kv/get' }), { att: [put] })]),
      refused: 'signature'
    },
    { name: 'a field too many', invocation: await forge(self, { extra: 1 }), refused: 'extra', stricter: true },
    { name: 'an empty list of facts', invocation: await forge(self, { fct: [] }), refused: 'fct', stricter: true },
    { name: 'another version', root: 'ucan', invocation: await forge(self, { v: '0.10.0' }), refused: '0.9.1' },
    { name: 'two capabilities', invocation: await invoke(bucket, [], {}, [{ ...put, nb }, { ...put, can: 'kv/get' }]), refused: 'one capability', stricter: true },
    { name: 'a pattern invoked', invocation: await invoke(bucket, [], {}, { ...put, can: 'kv/*', nb }), refused: 'kv/*', stricter: true },
    { name: 'two invocations', root: 'message', invocation: [self, one], refused: 'one invocation' },
    { name: 'an account as issuer', invocation: await invoke(Absentee.from({ id: 'did:mailto:example.com:al' }), []), refused: 'got 80a003' },
    { name: 'cut', invocation: self, damage: car => car.slice(0, -1), refused: 'truncated' },
    { name: 'cut after the root', invocation: one, damage: dropFirst, refused: 'of the same CAR' }
  ]

  // At each step two delegations, each of which rests on both of the step above.
  async function ladder (steps, whole) {
    const ends = await Promise.all([1, 2].map(n => give(whole ? bucket : mallory, alice, { nonce: `top ${n}` })))
    let proofs = ends
    for (let step = 0; step < steps; step++) {
      proofs = await Promise.all([1, 2].map(n => give(alice, alice, { nonce: `${step} ${n}`, proofs })))
    }
    return invoke(alice, proofs)
  }
}

// The other signature with P-256 that everybody can make of one.
function greater (signature) {
  const { r, s } = p256.Signature.fromCompact(signature.raw)
  return Signature.create(Signature.ES256, new p256.Signature(r, p256.CURVE.n - s).toCompactRawBytes())
}

// The same UCAN with other fields and the same signature.
async function forge (view, fields) {
  const data = { ...CBOR.decode(view.root.bytes), ...fields }
  const root = await block(data)
  const blocks = new Map([...view.export()].map(block => [`${block.cid}`, block]))
  return Delegation.create({ root, blocks: blocks.set(`${root.cid}`, root) })
}

async function block (value) {
  return await DAG.writeInto(value, new Map())
}

async function attach (invocation, block) {
  invocation.attach(block)
  return invocation
}

// The same CAR without its first block.
function dropFirst (car) {
  const { roots, blocks } = CAR.decode(car)
  return CAR.encode({ roots, blocks: new Map([...blocks].slice(1)) })
}
