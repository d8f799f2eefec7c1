// Writes CARs with the npm package car-transaction, and reads CARs with it and with @ipld/car.

import { CarReader } from '@ipld/car'
import Transaction from 'car-transaction'

import { serve } from './serve.mjs'
import { hex, read, unhex, write } from './values.mjs'

await serve(async request => {
  if (request.write) return { car: await writeCar(request.write) }
  if (request.read) return await readCar(unhex(request.read))
  throw new Error('expected {write: [value, …]} or {read: hex}')
})

async function writeCar (values) {
  const transaction = Transaction.create()
  for (const value of values) await transaction.write(read(value))
  return hex(await transaction.commit())
}

async function readCar (bytes) {
  const { root, get } = await Transaction.load(bytes)
  const blocks = []
  for await (const { cid } of (await CarReader.fromBytes(bytes)).blocks()) {
    blocks.push([cid.toString(), write(await get(cid))])
  }
  return { root: root.toString(), blocks }
}
