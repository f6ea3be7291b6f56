/* Search from a folder: browsers start no worker from file:, so there its script runs in a hidden frame instead.
   It meets there what it expects of a worker: messages in and out, and importScripts. */
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.srcdoc = `<body><script>
        window.importScripts = (...urls) => urls.reduce((before, each) => before.then(() => new Promise((done, failed) => {
          const script = document.createElement("script")
          Object.assign(script, { src: each, onload: done, onerror: failed })
          document.body.append(script)
        })), Promise.resolve())
        window.postMessage = (data) => parent.dispatchEvent(new MessageEvent("frame-says", { data }))
      </script><script src="${url}"></script></body>`
      window.addEventListener("frame-says", (event) => {
        const message = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(message)
        if (this.onmessage) this.onmessage(message)
      })
      this.frame.addEventListener("load", () => {
        for (const data of this.waiting) this.send(data)
        this.waiting = null
      })
      document.addEventListener("DOMContentLoaded", () => document.body.append(this.frame))
      if (document.readyState !== "loading") document.body.append(this.frame)
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data)
      else this.send(data)
    }

    send(data) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }))
    }

    terminate() {
      this.frame.remove()
    }
  }
