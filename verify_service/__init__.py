"""The verify service: judges the proposals of many sessions with the target model, and decodes alone when asked to."""
