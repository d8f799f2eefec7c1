// One JSON line in, one JSON line out, until stdin ends.

import { createInterface } from 'node:readline'

export async function serve (answer) {
  for await (const line of createInterface({ input: process.stdin })) {
    let reply
    try {
      reply = await answer(JSON.parse(line))
    } catch (error) {
      reply = { error: error.stack ?? String(error) }
    }
    console.log(JSON.stringify(reply))
  }
}
