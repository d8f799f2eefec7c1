// The npm package iso-filecoin against a node: asks, sends money, then a CAR of car-transaction to the bucket actor.

import { decode, encode } from '@ipld/dag-cbor'
import Transaction from 'car-transaction'
import { Message } from 'iso-filecoin/message'
import { RPC } from 'iso-filecoin/rpc'
import { Token } from 'iso-filecoin/token'
import { accountFromLotus, create, signMessage } from 'iso-filecoin/wallet'

import { serve } from './serve.mjs'
import { hex } from './values.mjs'

const NETWORK = 'testnet'

// FRC-0042 numbers of the bucket actor's methods.
const CREATE = 508237557
const INVOKE = 3929173870

let rpc, account, from

const commands = {
  // Connects with the key of a funded account, in the form that Lotus exports.
  async connect ({ url, key }) {
    rpc = new RPC({ api: url, network: NETWORK })
    account = accountFromLotus(key, NETWORK)
    from = account.address.toString()
    const network = await ok(rpc.networkName())
    return { address: from, version: (await ok(rpc.version())).Version, network, head: await ok(rpc.chainHead()) }
  },

  async account () {
    return { balance: await ok(rpc.balance(from)), nonce: await ok(rpc.nonce(from)) }
  },

  async send ({ fil }) {
    const to = create('SECP256K1', NETWORK).address.toString()
    const value = Token.fromFIL(fil).toAttoFIL().toString()
    const sent = await push(new Message({ from, to, value }))
    return { ...sent, to, balance: await ok(rpc.balance(to)), id: await ok(rpc.getIDAddress({ address: to, safety: 'latest' })) }
  },

  async create ({ actor, bucket }) {
    const [atomic, proof] = [0, null]
    return await toActor(actor, CREATE, [bucket, [], atomic, proof])
  },

  async invoke ({ actor, bucket, key, value }) {
    const transaction = Transaction.create()
    await transaction.write({ sub: bucket, cmd: '/kv/put', args: { key, value }, nonce: new Uint8Array([1, 2, 3]) })
    const car = await transaction.commit()
    const [force, hook] = [false, null]
    const pushed = await toActor(actor, INVOKE, [bucket, car, force, hook])
    const [receipt, ran, succeeded, root, sent] = decode(Buffer.from(pushed.receipt.Return, 'base64'))
    const returned = { receipt: hex(receipt), ran, ok: succeeded, root: root.toString(), sent }
    return { ...pushed, car: hex(car), returned }
  }
}

await serve(({ command, ...args }) => commands[command](args))

async function toActor (actor, method, params) {
  const cbor = Buffer.from(encode(params)).toString('base64')
  return await push(new Message({ from, to: actor, value: '0', method, params: cbor }))
}

// Nonce and gas from the node, signature, mempool, and the message's result with the package's own confidence.
async function push (draft) {
  const message = await draft.prepare(rpc)
  const signature = signMessage(account.privateKey, account.type, message)
  const cid = await ok(rpc.pushMessage({ msg: message, signature }))
  const { Receipt, Height } = await ok(rpc.waitMsg({ cid }))
  return { cid: cid['/'], nonce: message.nonce, gasLimit: message.gasLimit, receipt: Receipt, height: Height }
}

async function ok (answer) {
  const { result, error } = await answer
  if (error) throw error
  return result
}
