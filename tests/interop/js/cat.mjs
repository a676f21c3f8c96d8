// cat.mjs GATEWAY CID: fetch a file by Helia from one trustless gateway, and print its bytes.
import { withHTTP } from '@helia/http'
import { unixfs } from '@helia/unixfs'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'

const [gateway, cid] = process.argv.slice(2)
const helia = await withHTTP(createHeliaLight(), {
  // Without a router that is no fallback Helia 7.1 waits forever; one that answers 404 is enough.
  allowInsecure: true,
  allowLocal: true,
  delegatedRouters: [gateway],
  recursiveGateways: [gateway]
}).start()
for await (const piece of unixfs(helia).cat(CID.parse(cid))) {
  process.stdout.write(piece)
}
await helia.stop()
